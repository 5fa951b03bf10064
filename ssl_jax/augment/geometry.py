"""Geometric operations on one example: crop, resize, flip and quarter turn.

Images are (C, H, W) with any C, masks are (H, W) integers. Resampling is a weighted sum of a few
rows, then of a few columns, with the weights of Pillow's `crop(...).resize(...)`: antialiased, and
independent of pixels outside the crop. A matrix product for each axis would do the same with
mostly zero weights, and takes 16 times as long on a CPU.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

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


def resample(
    image: Array, window: Window, size: int, method: str = "bilinear", largest: float = 0.0
) -> Array:
    """Crop a window from an image and resize it.

    Args:
        image: Input, (C, H, W) float.
        window: Window to crop.
        size: Side of the output, in pixels.
        method: `bilinear` or `bicubic`, both antialiased.
        largest: Largest height or width that a window may have, in pixels; by default those of the
            image.

    Returns:
        The window, (C, size, size), which is 0 outside the image.
    """
    height, width = image.shape[1:]
    rows = _Taps.of_axis(height, window.top, window.height, size, method, largest or height)
    columns = _Taps.of_axis(width, window.left, window.width, size, method, largest or width)

    # A loop over bands, after which the result is in memory: otherwise XLA may fuse both axes, and
    # compute each sum along the first again for every use in the second.
    for taps in (columns, rows):
        image = lax.map(lambda plane, taps=taps: taps.apply(plane.T), image)
    return image


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
    """Flip an image (C, H, W) or a mask (H, W) along its width."""
    return image[..., ::-1]


def vertical_flip(image: Array) -> Array:
    """Flip an image (C, H, W) or a mask (H, W) along its height."""
    return image[..., ::-1, :]


def quarter_turns(image: Array, turns: Array) -> Array:
    """Rotate a square image (C, S, S) or mask (S, S) counter-clockwise by `turns` × 90°, 0 to 3."""
    rotations = [lambda x, k=k: jnp.rot90(x, k, axes=(-2, -1)) for k in range(4)]
    return jax.lax.switch(turns, rotations, image)


def random_orientation(
    key: Array, horizontal: bool, vertical: bool, turns: bool, *images: Array
) -> tuple[Array, ...]:
    """Apply the same random flips and quarter turn to all images and masks of an example."""
    draws = jax.random.uniform(key, (3,))
    for enabled, draw, flip in (
        (horizontal, draws[0], horizontal_flip),
        (vertical, draws[1], vertical_flip),
    ):
        if enabled:
            images = tuple(jnp.where(draw < 0.5, flip(x), x) for x in images)
    if turns:
        num_turns = jnp.floor(4 * draws[2]).astype(jnp.int32)
        images = tuple(quarter_turns(x, num_turns) for x in images)
    return images


class _Taps(NamedTuple):
    """The input pixels that each output pixel of an axis is a weighted sum of.

    As in Pillow, the kernel is as wide as an output pixel when shrinking, is truncated at the
    border of the crop, and its weights sum to 1.

    Attributes:
        first: (size,) int, the first pixel; it may lie outside the image.
        weights: (size, taps), the weights of this pixel and those that follow it.
    """

    first: Array
    weights: Array

    @classmethod
    def of_axis(
        cls,
        length: int,
        start: Array | float,
        extent: Array | float,
        size: int,
        method: str,
        largest: float,
    ) -> _Taps:
        """Compute the taps of an axis with `length` pixels, for a window of at most `largest`."""
        kernel, radius = {"bilinear": (_triangle, 1), "bicubic": (_cubic, 2)}[method]
        step = extent / size  # input pixels per output pixel
        stretch = jnp.maximum(step, 1.0)
        centres = start + (jnp.arange(size) + 0.5) * step
        first = jnp.floor(centres - radius * stretch).astype(jnp.int32)
        taps = jnp.arange(math.ceil(2 * radius * max(largest / size, 1.0)) + 1)
        pixels = first[:, None] + taps + 0.5
        weights = kernel((pixels - centres[:, None]) / stretch)
        is_inside = (pixels > start) & (pixels < start + extent)
        is_inside &= (pixels > 0) & (pixels < length)
        is_inside &= ((centres >= 0) & (centres < length))[:, None]
        weights = jnp.where(is_inside, weights, 0.0)
        total = weights.sum(axis=1, keepdims=True)
        return cls(first, weights / jnp.where(total == 0, 1.0, total))

    def apply(self, plane: Array) -> Array:
        """Compute the weighted sums of the rows of a plane (H, W), (size, W)."""
        terms = (
            self.weights[:, tap, None] * jnp.take(plane, self.first + tap, axis=0, mode="clip")
            for tap in range(self.weights.shape[1])
        )
        return functools.reduce(jnp.add, terms)


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
