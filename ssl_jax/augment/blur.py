"""Gaussian blur as two matrix products: no convolution with a kernel for each example."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def gaussian_blur(image: Array, sigma: Array | float, radius: int) -> Array:
    """`image` (H, W, C) blurred by `sigma` pixels, the kernel cut at `radius`; borders reflect."""
    rows = _blur_matrix(image.shape[0], sigma, radius)
    columns = _blur_matrix(image.shape[1], sigma, radius)
    return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision="highest")


def blur_radius(size: int) -> int:
    """Half of a kernel that spans about a tenth of the image (Chen et al. 2020, appendix A)."""
    return max(1, size // 20)


def _blur_matrix(length: int, sigma: Array | float, radius: int) -> Array:
    """Matrix (length, length): the Gaussian round each pixel, with what leaves the image reflected.

    Reflection without repeating the border pixel: places -j and 2(length - 1) - j show pixel j.
    """
    radius = min(radius, length - 1)

    def tap(distance: Array) -> Array:
        weight = jnp.exp(-0.5 * (distance / sigma) ** 2)
        return jnp.where(jnp.abs(distance) <= radius, weight, 0.0)

    i, j = jnp.arange(length)[:, None], jnp.arange(length)[None, :]
    beyond_start = jnp.where(j > 0, tap(i + j), 0.0)
    beyond_end = jnp.where(j < length - 1, tap(2 * (length - 1) - i - j), 0.0)
    return (tap(i - j) + beyond_start + beyond_end) / tap(jnp.arange(-radius, radius + 1)).sum()
