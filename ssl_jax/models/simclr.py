"""SimCLR's network (Chen et al. 2020): a backbone, which is kept, and a projection, which isn't."""

from __future__ import annotations

import flax.linen as nn
from jax import Array


class SimCLRModel(nn.Module):
    """(B, H, W, C) -> projection (B, out); parameters are under `backbone` and `projection`."""

    backbone: nn.Module
    projection: nn.Module

    def __call__(self, image: Array, train: bool = False, keys: Array | None = None) -> Array:
        """Project the representation into the space where views are compared."""
        return self.projection(self.backbone(image, train=train, keys=keys), train=train)
