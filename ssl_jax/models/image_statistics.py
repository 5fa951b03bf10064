"""The baseline that keeps one honest: what can be told from a tile's colours alone."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class ImageStatistics(nn.Module):
    """Mean, standard deviation, minimum and maximum of each band; nothing to be learned."""

    def __call__(self, image: Array, train: bool = False, keys: Array | None = None) -> Array:
        """(B, H, W, C) -> (B, 4 C) float32."""
        x = image.astype(jnp.float32)
        reductions = (jnp.mean, jnp.std, jnp.min, jnp.max)
        return jnp.concatenate([reduce(x, axis=(1, 2)) for reduce in reductions], axis=-1)
