"""Colour operations on one image (C, H, W): brightness, contrast, saturation, hue and gray.

Bands are planes, since CPUs compute neighbouring numbers together.

Images hold unit values in 0..1. Brightness and contrast apply to any bands. Saturation and hue
apply to red, green and blue only, whose indices among the bands are given as `rgb`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

LUMA = np.asarray([0.2989, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in tf.image and Pillow


def brightness(image: Array, factor: Array) -> Array:
    """Multiply all values of an image (C, H, W) by `factor`."""
    return image * factor


def contrast(image: Array, factor: Array) -> Array:
    """Multiply the deviations from each band's mean by `factor` (tf.image.adjust_contrast).

    Args:
        image: Input, (C, H, W).
        factor: Factor, a scalar.

    Returns:
        The adjusted image, (C, H, W), not clipped.
    """
    mean = image.mean(axis=(1, 2), keepdims=True)
    return mean + (image - mean) * factor


def saturation(image: Array, factor: Array, rgb: tuple[int, ...] = (0, 1, 2)) -> Array:
    """Multiply the HSV saturation by `factor`, limited to 1 (tf.image.adjust_saturation).

    Args:
        image: Input, (C, H, W).
        factor: Factor, a scalar.
        rgb: Indices of red, green and blue among the bands; the others are unchanged.

    Returns:
        The adjusted image, (C, H, W).
    """
    value, chroma = _measure_value_and_chroma(image, rgb)
    # Saturation is chroma / value, so the factor can be at most value / chroma.
    limit = value / jnp.where(chroma == 0, 1.0, chroma)
    changed = value - (value - image) * jnp.where(chroma == 0, 1.0, jnp.minimum(factor, limit))
    return _replace_bands(image, rgb, changed)


def hue(image: Array, shift: Array, rgb: tuple[int, ...] = (0, 1, 2)) -> Array:
    """Shift the hue of an image (tf.image.adjust_hue).

    Args:
        image: Input, (C, H, W).
        shift: Shift as a fraction of the colour circle, a scalar.
        rgb: Indices of red, green and blue among the bands; the others are unchanged.

    Returns:
        The adjusted image, (C, H, W).
    """
    red, green, blue = (image[band] for band in rgb)
    value, chroma = _measure_value_and_chroma(image, rgb)
    safe_chroma = jnp.where(chroma == 0, 1.0, chroma)
    sextant = jnp.where(
        value == red,
        (green - blue) / safe_chroma,
        jnp.where(value == green, (blue - red) / safe_chroma + 2, (red - green) / safe_chroma + 4),
    )
    # Each primary falls off with its distance from the hue (the HSV-to-RGB formula in one line).
    primaries = np.zeros(len(image), np.float32)
    primaries[list(rgb)] = 5, 3, 1
    turned = primaries[:, None, None] + (sextant + 6 * shift)
    distance = turned - 6 * jnp.floor(turned / 6)  # `%` is a function call for each pixel on CPUs
    falloff = jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)
    return _replace_bands(image, rgb, value - chroma * falloff)


def gray(image: Array, rgb: tuple[int, ...] = ()) -> Array:
    """Convert an image to gray, keeping its number of bands.

    Args:
        image: Input, (C, H, W).
        rgb: Indices of red, green and blue among the bands.

    Returns:
        An image (C, H, W). With `rgb` these three bands hold the luma and the others are unchanged;
        without it all bands hold the mean of the bands.
    """
    if not rgb:
        return jnp.broadcast_to(image.mean(axis=0), image.shape)
    luma = functools.reduce(jnp.add, (w * image[band] for w, band in zip(LUMA, rgb, strict=True)))
    return _replace_bands(image, rgb, jnp.broadcast_to(luma, image.shape))


class Jitter(NamedTuple):
    """Random changes of the colours of an image in random order.

    Attributes:
        operations: The operations, `(image (C, H, W) in unit values) -> image`. The last two
            convert to gray and do nothing.
        order: Indices of the operations to apply, (n,).
    """

    operations: Sequence[Callable[[Array], Array]]
    order: Array

    @classmethod
    def draw(
        cls,
        key: Array,
        strengths: tuple[float, float, float, float],
        rgb: tuple[int, ...] = (),
        is_jittered: Array | bool = True,
        is_gray: Array | bool = False,
    ) -> Jitter:
        """Draw changes of brightness, contrast, saturation and hue.

        Values are clipped to 0..1 after each operation. Operations of strength 0 are skipped, and
        so are saturation and hue without `rgb`.

        Args:
            key: Random key.
            strengths: Strengths s of brightness, contrast, saturation and hue. The first three draw
                a factor from [max(0, 1 - s), 1 + s], the hue draws a shift from [-s, s].
            rgb: Indices of red, green and blue among the bands.
            is_jittered: Whether these four are applied, a scalar.
            is_gray: Whether the image is converted to gray after them, a scalar.
        """
        order, amounts = jax.random.uniform(key, (2, 4))
        factors = [
            *(
                max(0.0, 1 - s) + (1 + s - max(0.0, 1 - s)) * amounts[i]
                for i, s in enumerate(strengths[:3])
            ),
            strengths[3] * (2 * amounts[3] - 1),
        ]
        functions = (
            brightness,
            contrast,
            functools.partial(saturation, rgb=rgb),
            functools.partial(hue, rgb=rgb),
        )
        operations = [
            lambda x, function=function, factor=factor: jnp.clip(function(x, factor), 0.0, 1.0)
            for function, factor, strength in zip(functions, factors, strengths, strict=True)
            if strength > 0 and (rgb or function in (brightness, contrast))
        ]
        count = len(operations)
        indices = jnp.where(is_jittered, jnp.argsort(order[:count]), count + 1)
        indices = jnp.append(indices, jnp.where(is_gray, count, count + 1))
        return cls([*operations, lambda x: gray(x, rgb), lambda x: x], indices)

    def __call__(self, image: Array) -> Array:
        """Change an image (C, H, W) in unit values."""

        def apply(image: Array, index: Array) -> tuple[Array, None]:
            # All are computed and one is selected, as happens under `vmap` in any case.
            return lax.select_n(index, *(operation(image) for operation in self.operations)), None

        # A loop, between whose rounds the image is in memory: otherwise XLA may fuse all of them,
        # and compute each operation again for every use of its result.
        return lax.scan(apply, image, self.order)[0]


def _measure_value_and_chroma(image: Array, rgb: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the largest value of each pixel in the `rgb` bands, and the range of them, (H, W)."""
    planes = [image[band] for band in rgb]
    value = functools.reduce(jnp.maximum, planes)
    return value, value - functools.reduce(jnp.minimum, planes)


def _replace_bands(image: Array, bands: tuple[int, ...], changed: Array) -> Array:
    """Return `changed` in the bands with the given indices, and `image` in the others."""
    is_changed = np.isin(np.arange(len(image)), bands)
    return jnp.where(is_changed[:, None, None], changed, image)
