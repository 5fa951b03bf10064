"""What the light was like: brightness, contrast, saturation, hue and gray of one image (H, W, C).

Values are unit values in 0..1. Brightness and contrast have a meaning for any bands; saturation and
hue only for red, green and blue, whose places among the bands are given as `rgb`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LUMA = np.asarray([0.2989, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in tf.image and Pillow


def brightness(image: Array, factor: Array) -> Array:
    """All values times `factor`."""
    return image * factor


def contrast(image: Array, factor: Array) -> Array:
    """Deviations from each band's mean times `factor` (tf.image.adjust_contrast)."""
    mean = image.mean(axis=(0, 1))
    return mean + (image - mean) * factor


def saturation(image: Array, factor: Array) -> Array:
    """HSV saturation of an RGB image times `factor`, at most 1 (tf.image.adjust_saturation)."""
    value = image.max(axis=-1, keepdims=True)
    chroma = value - image.min(axis=-1, keepdims=True)
    # Saturation is chroma / value, so the factor can be at most value / chroma.
    most = value / jnp.where(chroma == 0, 1.0, chroma)
    return value - (value - image) * jnp.where(chroma == 0, 1.0, jnp.minimum(factor, most))


def hue(image: Array, shift: Array) -> Array:
    """Hue of an RGB image moved by `shift`, a share of the colour circle (tf.image.adjust_hue)."""
    red, green, blue = jnp.moveaxis(image, -1, 0)
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    safe = jnp.where(chroma == 0, 1.0, chroma)
    sextant = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    # Each primary falls off with its distance from the hue (the HSV-to-RGB formula in one line).
    distance = (jnp.array([5.0, 3.0, 1.0]) + (sextant + 6 * shift)[..., None]) % 6
    falloff = jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)
    return value[..., None] - chroma[..., None] * falloff


def gray(image: Array, rgb: tuple[int, ...] = ()) -> Array:
    """The luma in the `rgb` bands, the others untouched; without `rgb` the mean of all bands."""
    if not rgb:
        return jnp.broadcast_to(image.mean(axis=-1, keepdims=True), image.shape)
    luma = (image[..., np.array(rgb)] * LUMA).sum(axis=-1, keepdims=True)
    return image.at[..., np.array(rgb)].set(jnp.broadcast_to(luma, (*image.shape[:2], 3)))


def jitter(
    key: Array,
    image: Array,
    strengths: tuple[float, float, float, float],
    rgb: tuple[int, ...] = (),
) -> Array:
    """Brightness, contrast, saturation, hue: random amounts in random order, clipped after each.

    `strengths` s of the first three draw a factor from [max(0, 1 - s), 1 + s], that of the hue a
    shift from [-s, s]. Operations of strength zero are left out, and without `rgb` the last two.
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
        lambda x, f: _on(rgb, saturation, x, f),
        lambda x, f: _on(rgb, hue, x, f),
    )
    operations = [
        lambda x, function=function, amount=amount: jnp.clip(function(x, amount), 0.0, 1.0)
        for function, amount, strength in zip(functions, amounts, strengths, strict=True)
        if strength > 0 and (rgb or function in (brightness, contrast))
    ]
    for place in jnp.argsort(order[: len(operations)]):
        image = jax.lax.switch(place, operations, image)
    return image


def _on(
    bands: tuple[int, ...], function: Callable[[Array, Array], Array], image: Array, amount: Array
) -> Array:
    """`function` applied to some of the bands, the others as they were."""
    places = np.array(bands)
    return image.at[..., places].set(function(image[..., places], amount))
