"""Where pixels come from: crops, resizing, flips and quarter turns of one example.

Images are (H, W, C) with any C, masks (H, W) integers. Resampling is two matrix products, one for
each axis, whose weights are those of Pillow's `crop(...).resize(...)`: antialiased, and blind to
what lies outside the crop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

ATTEMPTS = 10  # draws of torchvision's RandomResizedCrop before it falls back to the centre


class Window(NamedTuple):
    """A rectangle in pixels of the image, which it may leave. Scalars, possibly traced."""

    top: Array | float
    left: Array | float
    height: Array | float
    width: Array | float


def resample(image: Array, window: Window, size: int, method: str = "bilinear") -> Array:
    """The window of `image` (H, W, C) as (size, size, C); black where it leaves the image."""
    rows = _weights(image.shape[0], window.top, window.height, size, method)
    columns = _weights(image.shape[1], window.left, window.width, size, method)
    # In full float32: TF32, the default on recent GPUs, would round away the low bits of uint16.
    return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision="highest")


def resample_mask(mask: Array, window: Window, size: int, outside: int) -> Array:
    """The window of `mask` (H, W) as (size, size): nearest label, `outside` beyond the image."""

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
    """Area uniform in `scale` (share of the image), log of width/height uniform in `ratio`.

    The first of ten draws that fits into the image is taken; if none does, the largest centred
    window of an allowed ratio.
    """
    # One draw for all numbers: each call of a generator costs time to compile.
    draws = jax.random.uniform(key, (2 * ATTEMPTS + 2,))
    area = height * width * _between(scale, draws[:ATTEMPTS])
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    aspect = jnp.exp(_between(log_ratio, draws[ATTEMPTS : 2 * ATTEMPTS]))
    widths, heights = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = jnp.argmax(fits)
    found = fits[first]

    aspect_of_centre = min(max(width / height, ratio[0]), ratio[1])
    centre_height = min(height, round(width / aspect_of_centre))
    centre_width = min(width, round(height * aspect_of_centre))
    crop_height = jnp.where(found, heights[first], centre_height)
    crop_width = jnp.where(found, widths[first], centre_width)

    top = jnp.floor(draws[-2] * (height - crop_height + 1))
    left = jnp.floor(draws[-1] * (width - crop_width + 1))
    return Window(
        jnp.where(found, top, (height - centre_height) // 2),
        jnp.where(found, left, (width - centre_width) // 2),
        crop_height,
        crop_width,
    )


def random_scaled_window(
    key: Array, height: int, width: int, size: int, scale: tuple[float, float]
) -> Window:
    """The square that becomes `size` pixels once the image is enlarged by a factor from `scale`.

    It lies within the image where it fits; where it is larger it covers the image and the padding
    falls at random on both sides.
    """
    draws = jax.random.uniform(key, (3,))
    side = size / _between(scale, draws[0])
    return Window(draws[1] * (height - side), draws[2] * (width - side), side, side)


def centre_window(height: int, width: int, fraction: float = 1.0) -> Window:
    """The centred square with `fraction` of the shorter side."""
    side = round(min(height, width) * fraction)
    return Window((height - side) // 2, (width - side) // 2, side, side)


def horizontal_flip(image: Array) -> Array:
    """East and west exchanged; images (H, W, C) and masks (H, W)."""
    return image[:, ::-1]


def vertical_flip(image: Array) -> Array:
    """North and south exchanged; images (H, W, C) and masks (H, W)."""
    return image[::-1]


def quarter_turns(image: Array, turns: Array) -> Array:
    """A square image (S, S, C) or mask (S, S) turned left by `turns` (0 to 3) times 90°."""
    turned = [lambda x, k=k: jnp.rot90(x, k) for k in range(4)]
    return jax.lax.switch(turns, turned, image)


def _weights(
    length: int, start: Array | float, extent: Array | float, size: int, method: str
) -> Array:
    """Matrix (size, length): how much pixel j of an axis gives to pixel i of the resized window.

    Pillow's rule: the kernel is as wide as a target pixel when shrinking, is cut at the border of
    the crop, and its weights sum to one.
    """
    step = extent / size  # source pixels in a target pixel
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
    """Keys' cubic with a = -0.5, as in Pillow and in torchvision's antialiased resize."""
    x = jnp.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


def _between(interval: tuple[float, float], draw: Array) -> Array:
    """A draw from 0..1 as one from the interval."""
    return interval[0] + (interval[1] - interval[0]) * draw
