"""Geometric operations on one example: crop, resize, flip and quarter turn.

Images are (H, W, C) with any C, masks are (H, W) integers. Resampling is two matrix products, one
for each axis, with the weights of Pillow's `crop(...).resize(...)`: antialiased, and independent of
pixels outside the crop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

_MAX_ATTEMPTS = 10  # as in torchvision's RandomResizedCrop, before it falls back to the centre


class Window(NamedTuple):
    """A rectangle that may extend beyond the image. All fields are scalars, possibly traced.

    Attributes:
        top: Row of its upper edge, in pixels.
        left: Column of its left edge, in pixels.
        height: Height, in pixels.
        width: Width, in pixels.
    """

    top: Array | float
    left: Array | float
    height: Array | float
    width: Array | float


def resample(image: Array, window: Window, size: int, method: str = "bilinear") -> Array:
    """Crop a window from an image and resize it.

    Args:
        image: Input, (H, W, C) float.
        window: Window to crop.
        size: Side of the output, in pixels.
        method: `bilinear` or `bicubic`, both antialiased.

    Returns:
        The window, (size, size, C), which is 0 outside the image.
    """
    rows = _resampling_matrix(image.shape[0], window.top, window.height, size, method)
    columns = _resampling_matrix(image.shape[1], window.left, window.width, size, method)
    # In full float32: TF32, the default on recent GPUs, would round away the low bits of uint16.
    return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision="highest")


def resample_mask(mask: Array, window: Window, size: int, outside: int) -> Array:
    """Crop a window from a mask and resize it by nearest neighbour.

    Args:
        mask: Input, (H, W) integer.
        window: Window to crop.
        size: Side of the output, in pixels.
        outside: Label of pixels outside the image.

    Returns:
        The window, (size, size), of the mask's dtype.
    """

    def nearest(start: Array | float, extent: Array | float, length: int) -> tuple[Array, Array]:
        position = jnp.floor(start + (jnp.arange(size) + 0.5) * (extent / size)).astype(jnp.int32)
        return jnp.clip(position, 0, length - 1), (position >= 0) & (position < length)

    rows, row_inside = nearest(window.top, window.height, mask.shape[0])
    columns, column_inside = nearest(window.left, window.width, mask.shape[1])
    inside = row_inside[:, None] & column_inside[None, :]
    return jnp.where(inside, jnp.asarray(mask)[rows[:, None], columns[None, :]], outside).astype(
        mask.dtype
    )


def random_window(
    key: Array, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Window:
    """Draw a window with uniform area and log-uniform aspect ratio that lies in the image.

    The result is the first of ten draws that fits into the image or, if none does, the largest
    centred window of an allowed ratio.

    Args:
        key: Random key.
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        scale: Minimum and maximum area, as fractions of the image.
        ratio: Minimum and maximum width over height.
    """
    # One draw for all numbers: each call of a generator costs time to compile.
    draws = jax.random.uniform(key, (2 * _MAX_ATTEMPTS + 2,))
    area = height * width * _scale_to(scale, draws[:_MAX_ATTEMPTS])
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    aspect = jnp.exp(_scale_to(log_ratio, draws[_MAX_ATTEMPTS : 2 * _MAX_ATTEMPTS]))
    widths, heights = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = jnp.argmax(fits)
    any_fits = fits[first]

    centre_aspect = min(max(width / height, ratio[0]), ratio[1])
    centre_height = min(height, round(width / centre_aspect))
    centre_width = min(width, round(height * centre_aspect))
    crop_height = jnp.where(any_fits, heights[first], centre_height)
    crop_width = jnp.where(any_fits, widths[first], centre_width)

    top = jnp.floor(draws[-2] * (height - crop_height + 1))
    left = jnp.floor(draws[-1] * (width - crop_width + 1))
    return Window(
        jnp.where(any_fits, top, (height - centre_height) // 2),
        jnp.where(any_fits, left, (width - centre_width) // 2),
        crop_height,
        crop_width,
    )


def random_scaled_window(
    key: Array, height: int, width: int, size: int, scale: tuple[float, float]
) -> Window:
    """Draw the square window that has `size` pixels after the image is scaled by a random factor.

    The window lies within the image if it fits. If it is larger, it covers the image, and the
    padding is divided at random between both sides.

    Args:
        key: Random key.
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        size: Side of the window after scaling, in pixels.
        scale: Minimum and maximum factor.
    """
    draws = jax.random.uniform(key, (3,))
    side = size / _scale_to(scale, draws[0])
    return Window(draws[1] * (height - side), draws[2] * (width - side), side, side)


def centre_window(height: int, width: int, fraction: float = 1.0) -> Window:
    """Return the centred square window with `fraction` of the shorter side, in pixels."""
    side = round(min(height, width) * fraction)
    return Window((height - side) // 2, (width - side) // 2, side, side)


def horizontal_flip(image: Array) -> Array:
    """Flip an image (H, W, C) or a mask (H, W) along its width."""
    return image[:, ::-1]


def vertical_flip(image: Array) -> Array:
    """Flip an image (H, W, C) or a mask (H, W) along its height."""
    return image[::-1]


def quarter_turns(image: Array, turns: Array) -> Array:
    """Rotate a square image (S, S, C) or mask (S, S) counter-clockwise by `turns` × 90°, 0 to 3."""
    rotations = [lambda x, k=k: jnp.rot90(x, k) for k in range(4)]
    return jax.lax.switch(turns, rotations, image)


def _resampling_matrix(
    length: int, start: Array | float, extent: Array | float, size: int, method: str
) -> Array:
    """Return the weights (size, length) of each input pixel in each output pixel of an axis.

    As in Pillow, the kernel is as wide as an output pixel when shrinking, is truncated at the
    border of the crop, and its weights sum to 1.
    """
    step = extent / size  # input pixels per output pixel
    centres = start + (jnp.arange(size) + 0.5) * step
    pixels = jnp.arange(length) + 0.5
    kernel = {"bilinear": _triangle, "bicubic": _cubic}[method]
    weights = kernel((pixels[None, :] - centres[:, None]) / jnp.maximum(step, 1.0))
    weights = jnp.where((pixels > start) & (pixels < start + extent), weights, 0.0)
    weights = jnp.where(((centres >= 0) & (centres < length))[:, None], weights, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    return weights / jnp.where(total == 0, 1.0, total)


def _triangle(x: Array) -> Array:
    return jnp.maximum(0.0, 1.0 - jnp.abs(x))


def _cubic(x: Array) -> Array:
    """Compute Keys' cubic with a = -0.5, as in Pillow and torchvision's antialiased resize."""
    x = jnp.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


def _scale_to(interval: tuple[float, float], draw: Array) -> Array:
    """Scale a number in 0..1 to an interval."""
    return interval[0] + (interval[1] - interval[0]) * draw
