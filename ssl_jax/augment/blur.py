"""Gaussian blur as weighted sums of shifted images.

A convolution would have another kernel for each example, and matrix products are mostly of zeros.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import Array, lax


def gaussian_blur(image: Array, sigma: Array | float, radius: int) -> Array:
    """Blur an image with a truncated Gaussian, reflecting it at its borders.

    The border pixel is not repeated: position -j shows pixel j.

    Args:
        image: Input, (C, H, W) float.
        sigma: Standard deviation of the Gaussian, in pixels.
        radius: Radius at which the kernel is truncated, in pixels.

    Returns:
        The blurred image, (C, H, W).
    """
    for axis in (1, 2):
        image = _blur_axis(image, sigma, min(radius, image.shape[axis] - 1), axis)
    return image


def blur_radius(size: int) -> int:
    """Return the radius, in pixels, of a kernel that spans about a tenth of the image.

    The size of the kernel is that of Chen et al. 2020, appendix A.

    Args:
        size: Side of the image, in pixels.
    """
    return max(1, size // 20)


def _blur_axis(image: Array, sigma: Array | float, radius: int, axis: int) -> Array:
    weights = jnp.exp(-0.5 * (jnp.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    padding = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
    # Without the barriers, XLA computes each padded pixel again for every weight.
    padded = lax.optimization_barrier(jnp.pad(image, padding, mode="reflect"))
    terms = (
        weights[i] * lax.slice_in_dim(padded, i, i + image.shape[axis], axis=axis)
        for i in range(2 * radius + 1)
    )
    return lax.optimization_barrier(functools.reduce(jnp.add, terms))
