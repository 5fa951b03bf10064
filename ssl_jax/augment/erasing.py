"""Random erasing (Zhong et al. 2020, https://arxiv.org/abs/1708.04896) as in timm.

A rectangle is replaced by noise, as in `mode="pixel"` of timm's `RandomErasing`. Erasing follows
the normalisation, so that the noise has the mean and variance of the values it replaces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

_MAX_ATTEMPTS = 10  # draws of a rectangle before the image is left unchanged


@dataclass(frozen=True)
class Erasing:
    """Random erasing: `(key, image (H, W, C)) -> image (H, W, C)`, both standardised.

    Attributes:
        probability: Probability that a rectangle is erased.
        area: Minimum and maximum fraction of the image that the rectangle covers.
        ratio: Minimum and maximum height over width; its logarithm is uniformly distributed.
    """

    probability: float = 0.0
    area: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def __call__(self, key: Array, image: Array) -> Array:
        """Replace a random rectangle by noise from N(0, 1), drawn for each pixel and band.

        Args:
            key: Random key.
            image: Standardised image, (H, W, C).

        Returns:
            The image with the rectangle erased, (H, W, C).
        """
        if not self.probability:
            return image
        rectangle_key, noise_key = jax.random.split(key)
        erased = self._draw_rectangle(rectangle_key, *image.shape[:2])
        noise = jax.random.normal(noise_key, image.shape, image.dtype)
        return jnp.where(erased[..., None], noise, image)

    def _draw_rectangle(self, key: Array, height: int, width: int) -> Array:
        """Return the mask (H, W) bool of the first drawn rectangle smaller than the image."""
        draws = jax.random.uniform(key, (2 * _MAX_ATTEMPTS + 3,))
        low, high = self.area
        area = height * width * (low + (high - low) * draws[:_MAX_ATTEMPTS])
        log_low, log_high = (math.log(ratio) for ratio in self.ratio)
        ratio = jnp.exp(log_low + (log_high - log_low) * draws[_MAX_ATTEMPTS : 2 * _MAX_ATTEMPTS])
        heights, widths = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
        fits = (heights < height) & (widths < width)
        first = jnp.argmax(fits)
        top = jnp.floor(draws[-3] * (height - heights[first] + 1))
        left = jnp.floor(draws[-2] * (width - widths[first] + 1))
        y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
        inside = (y >= top) & (y < top + heights[first]) & (x >= left) & (x < left + widths[first])
        return inside & fits[first] & (draws[-1] < self.probability)
