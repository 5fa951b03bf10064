"""Image statistics as a baseline representation: what the colours of a tile alone provide."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class ImageStatistics(nn.Module):
    """Mean, standard deviation, minimum and maximum of each band, without parameters."""

    def __call__(self, image: Array, train: bool = False, keys: Array | None = None) -> Array:
        """Compute the statistics (B, 4 C) float32 of images (B, H, W, C)."""
        x = image.astype(jnp.float32)
        reductions = (jnp.mean, jnp.std, jnp.min, jnp.max)
        return jnp.concatenate([reduce(x, axis=(1, 2)) for reduce in reductions], axis=-1)
