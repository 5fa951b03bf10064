"""Gaussian blur as two matrix products, which avoids a convolution with one kernel per example."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def gaussian_blur(image: Array, sigma: Array | float, radius: int) -> Array:
    """Blur an image with a truncated Gaussian, reflecting it at its borders.

    Args:
        image: Input, (H, W, C) float.
        sigma: Standard deviation of the Gaussian, in pixels.
        radius: Radius at which the kernel is truncated, in pixels.

    Returns:
        The blurred image, (H, W, C).
    """
    height, width = image.shape[:2]
    rows = _blur_matrix(height, sigma, radius)
    columns = rows if width == height else _blur_matrix(width, sigma, radius)
    return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision="highest")


def blur_radius(size: int) -> int:
    """Return the radius, in pixels, of a kernel that spans about a tenth of the image.

    The size of the kernel is that of Chen et al. 2020, appendix A.

    Args:
        size: Side of the image, in pixels.
    """
    return max(1, size // 20)


def _blur_matrix(length: int, sigma: Array | float, radius: int) -> Array:
    """Return the matrix (length, length) that blurs one axis, with reflection at both ends.

    The border pixel is not repeated: positions -j and 2(length - 1) - j show pixel j.
    """
    radius = min(radius, length - 1)

    def weight(distance: Array) -> Array:
        gaussian = jnp.exp(-0.5 * (distance / sigma) ** 2)
        return jnp.where(jnp.abs(distance) <= radius, gaussian, 0.0)

    i, j = jnp.arange(length)[:, None], jnp.arange(length)[None, :]
    beyond_start = jnp.where(j > 0, weight(i + j), 0.0)
    beyond_end = jnp.where(j < length - 1, weight(2 * (length - 1) - i - j), 0.0)
    total = weight(jnp.arange(-radius, radius + 1)).sum()
    return (weight(i - j) + beyond_start + beyond_end) / total
