"""The pixels under one element of a sliding kernel, at all positions of the kernel."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

__all__ = ["put_pixels", "take_pixels"]


def take_pixels(image: Array, offset: Sequence[int], stride: int, size: Sequence[int]) -> Array:
    """Take every `stride`-th pixel, from an offset on.

    Args:
        image: Images, (B, H, W, C).
        offset: Row and column of the first pixel.
        stride: Distance of the pixels.
        size: Number of rows and columns of pixels.

    Returns:
        The pixels, (B, *size, C).
    """
    last = [start + stride * (count - 1) + 1 for start, count in zip(offset, size, strict=True)]
    end = (len(image), *last, image.shape[-1])
    return lax.slice(image, (0, *offset, 0), end, (1, stride, stride, 1))


def put_pixels(pixels: Array, offset: Sequence[int], stride: int, size: Sequence[int]) -> Array:
    """Put pixels where `take_pixels` takes them from, into images of zeros; its adjoint.

    Args:
        pixels: Pixels, (B, h, w, C).
        offset: Row and column of the first pixel.
        stride: Distance of the pixels.
        size: Number of rows and columns of the images.

    Returns:
        Images, (B, *size, C).
    """
    edges = [
        (start, total - start - stride * (count - 1) - 1, stride - 1)
        for start, total, count in zip(offset, size, pixels.shape[1:3], strict=True)
    ]
    return lax.pad(pixels, jnp.zeros((), pixels.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
