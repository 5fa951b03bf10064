"""Colour operations on one image (H, W, C): brightness, contrast, saturation, hue and gray.

Images hold unit values in 0..1. Brightness and contrast apply to any bands. Saturation and hue
apply to red, green and blue only, whose indices among the bands are given as `rgb`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LUMA = np.asarray([0.2989, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in tf.image and Pillow


def brightness(image: Array, factor: Array) -> Array:
    """Multiply all values of an image (H, W, C) by `factor`."""
    return image * factor


def contrast(image: Array, factor: Array) -> Array:
    """Multiply the deviations from each band's mean by `factor` (tf.image.adjust_contrast).

    Args:
        image: Input, (H, W, C).
        factor: Factor, a scalar.

    Returns:
        The adjusted image, (H, W, C), not clipped.
    """
    mean = image.mean(axis=(0, 1))
    return mean + (image - mean) * factor


def saturation(image: Array, factor: Array) -> Array:
    """Multiply the HSV saturation by `factor`, limited to 1 (tf.image.adjust_saturation).

    Args:
        image: RGB image, (H, W, 3).
        factor: Factor, a scalar.

    Returns:
        The adjusted image, (H, W, 3).
    """
    value = image.max(axis=-1, keepdims=True)
    chroma = value - image.min(axis=-1, keepdims=True)
    # Saturation is chroma / value, so the factor can be at most value / chroma.
    limit = value / jnp.where(chroma == 0, 1.0, chroma)
    return value - (value - image) * jnp.where(chroma == 0, 1.0, jnp.minimum(factor, limit))


def hue(image: Array, shift: Array) -> Array:
    """Shift the hue of an RGB image (tf.image.adjust_hue).

    Args:
        image: RGB image, (H, W, 3).
        shift: Shift as a fraction of the colour circle, a scalar.

    Returns:
        The adjusted image, (H, W, 3).
    """
    red, green, blue = jnp.moveaxis(image, -1, 0)
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    safe_chroma = jnp.where(chroma == 0, 1.0, chroma)
    sextant = jnp.where(
        value == red,
        (green - blue) / safe_chroma,
        jnp.where(value == green, (blue - red) / safe_chroma + 2, (red - green) / safe_chroma + 4),
    )
    # Each primary falls off with its distance from the hue (the HSV-to-RGB formula in one line).
    turned = jnp.array([5.0, 3.0, 1.0]) + (sextant + 6 * shift)[..., None]
    distance = turned - 6 * jnp.floor(turned / 6)  # `%` is a function call for each pixel on CPUs
    falloff = jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)
    return value[..., None] - chroma[..., None] * falloff


def gray(image: Array, rgb: tuple[int, ...] = ()) -> Array:
    """Convert an image to gray, keeping its number of bands.

    Args:
        image: Input, (H, W, C).
        rgb: Indices of red, green and blue among the bands.

    Returns:
        An image (H, W, C). With `rgb` these three bands hold the luma and the others are unchanged;
        without it all bands hold the mean of the bands.
    """
    if not rgb:
        return jnp.broadcast_to(image.mean(axis=-1, keepdims=True), image.shape)
    luma = (_take_bands(image, rgb) * LUMA).sum(axis=-1, keepdims=True)
    return _put_bands(image, rgb, jnp.broadcast_to(luma, (*image.shape[:2], 3)))


def jitter(
    key: Array,
    image: Array,
    strengths: tuple[float, float, float, float],
    rgb: tuple[int, ...] = (),
) -> Array:
    """Change brightness, contrast, saturation and hue by random amounts in random order.

    Values are clipped to 0..1 after each operation. Operations of strength 0 are skipped, and so
    are saturation and hue without `rgb`.

    Args:
        key: Random key.
        image: Input, (H, W, C) in unit values.
        strengths: Strengths s of brightness, contrast, saturation and hue. The first three draw a
            factor from [max(0, 1 - s), 1 + s], the hue draws a shift from [-s, s].
        rgb: Indices of red, green and blue among the bands.

    Returns:
        The jittered image, (H, W, C) in unit values.
    """
    order, amounts = jax.random.uniform(key, (2, 4))
    amounts = [
        *(
            max(0.0, 1 - s) + (1 + s - max(0.0, 1 - s)) * amounts[i]
            for i, s in enumerate(strengths[:3])
        ),
        strengths[3] * (2 * amounts[3] - 1),
    ]
    functions = (
        brightness,
        contrast,
        lambda x, f: _apply_to_bands(rgb, saturation, x, f),
        lambda x, f: _apply_to_bands(rgb, hue, x, f),
    )
    operations = [
        lambda x, function=function, amount=amount: jnp.clip(function(x, amount), 0.0, 1.0)
        for function, amount, strength in zip(functions, amounts, strengths, strict=True)
        if strength > 0 and (rgb or function in (brightness, contrast))
    ]
    for index in jnp.argsort(order[: len(operations)]):
        image = jax.lax.switch(index, operations, image)
    return image


def _apply_to_bands(
    bands: tuple[int, ...], function: Callable[[Array, Array], Array], image: Array, amount: Array
) -> Array:
    """Apply `function` to the bands with the given indices and keep the others unchanged."""
    return _put_bands(image, bands, function(_take_bands(image, bands), amount))


# Stacks of slices: CPUs gather and scatter by indices pixel by pixel.
def _take_bands(image: Array, bands: tuple[int, ...]) -> Array:
    return jnp.stack([image[..., band] for band in bands], axis=-1)


def _put_bands(image: Array, bands: tuple[int, ...], values: Array) -> Array:
    planes = [image[..., band] for band in range(image.shape[-1])]
    for index, band in enumerate(bands):
        planes[band] = values[..., index]
    return jnp.stack(planes, axis=-1)
