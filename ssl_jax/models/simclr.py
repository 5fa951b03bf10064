"""SimCLR's network (Chen et al. 2020): a backbone and a projection head.

Only the backbone is kept after pretraining.
"""

from __future__ import annotations

import flax.linen as nn
from jax import Array


class SimCLRModel(nn.Module):
    """A backbone with a projection head, with parameters under `backbone` and `projection`.

    Attributes:
        backbone: Network from images (B, H, W, C) to representations (B, D).
        projection: Network from representations (B, D) to projections (B, out).
    """

    backbone: nn.Module
    projection: nn.Module

    def __call__(self, image: Array, train: bool = False, keys: Array | None = None) -> Array:
        """Compute the projection, on which the contrastive loss acts.

        Args:
            image: Standardised images, (B, H, W, C).
            train: Whether to use the batch's statistics in batch norm.
            keys: Random keys of the examples for drop path, (B,).

        Returns:
            Projections, (B, out).
        """
        return self.projection(self.backbone(image, train=train, keys=keys), train=train)
