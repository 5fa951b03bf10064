"""Random erasing (Zhong et al. 2020, https://arxiv.org/abs/1708.04896) as timm has it.

A rectangle gives way to noise, `mode="pixel"` of timm's `RandomErasing`. It comes after the
normalisation: there the noise has the mean and variance of what it hides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

ATTEMPTS = 10  # draws of a rectangle before the image is left as it is


@dataclass(frozen=True)
class Erasing:
    """`(key, image (H, W, C)) -> image (H, W, C)`, both standardised.

    probability: that a rectangle is erased.
    area: smallest and largest share of the image it covers.
    ratio: smallest and largest height over width; its logarithm is uniform.
    """

    probability: float = 0.0
    area: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def __call__(self, key: Array, image: Array) -> Array:
        """`image` with N(0, 1), drawn for each pixel and band, in the rectangle."""
        if not self.probability:
            return image
        rectangle_key, noise_key = jax.random.split(key)
        erased = self._rectangle(rectangle_key, *image.shape[:2])
        noise = jax.random.normal(noise_key, image.shape, image.dtype)
        return jnp.where(erased[..., None], noise, image)

    def _rectangle(self, key: Array, height: int, width: int) -> Array:
        """Where to erase, (H, W) bool: the first drawn rectangle that is smaller than the image."""
        draws = jax.random.uniform(key, (2 * ATTEMPTS + 3,))
        low, high = self.area
        area = height * width * (low + (high - low) * draws[:ATTEMPTS])
        log_low, log_high = (math.log(ratio) for ratio in self.ratio)
        ratio = jnp.exp(log_low + (log_high - log_low) * draws[ATTEMPTS : 2 * ATTEMPTS])
        heights, widths = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
        fits = (heights < height) & (widths < width)
        first = jnp.argmax(fits)
        top = jnp.floor(draws[-3] * (height - heights[first] + 1))
        left = jnp.floor(draws[-2] * (width - widths[first] + 1))
        y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
        within = (y >= top) & (y < top + heights[first]) & (x >= left) & (x < left + widths[first])
        return within & fits[first] & (draws[-1] < self.probability)
