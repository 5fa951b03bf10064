"""RandAugment (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719) for any number of bands.

timm's `rand-m9-mstd0.5-inc1`, with which MAE is fine-tuned: operations of Pillow that all grow with
the magnitude. Pillow knows pictures of 8 bits; here values are unit values in 0..1, 255 steps of
1/255, and are not rounded after each operation: on a picture of 8 bits every operation agrees with
Pillow's to one such step, where Pillow cuts the fraction off, or to a step and a half where it has
rounded before (color, contrast, sharpness).

With other bands than red, green and blue,
- auto_contrast, equalize, invert, posterize, solarize, solarize_add, brightness and sharpness treat
  each band by itself, as Pillow does;
- color blends with gray, and contrast with the mean of gray: luma in the `rgb` bands, where the
  others stay as they are (color) or are drawn to their own mean (contrast); without `rgb` the mean
  of all bands;
- rotate, shear and translate move all bands together and fill with `fill`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.augment import affine, colour

MOST = 10.0  # the largest magnitude; `_LEVEL_DENOM` of timm
STEPS = 255.0


class OperationSettings(NamedTuple):
    """What an operation is to do.

    level: strength in 0..1, the magnitude over 10.
    signed: the same, up or down.
    fill: (C,) values beyond the image.
    rgb: where red, green and blue stand among the bands.
    """

    level: Array
    signed: Array
    fill: Array
    rgb: tuple[int, ...]


@dataclass(frozen=True)
class RandAugment:
    """`(key, image (H, W, C)) -> image (H, W, C)`: some operations, one after the other.

    operations: how many are drawn, with repetition; 0 leaves images as they are.
    magnitude, magnitude_std: mean and standard deviation of each one's magnitude, cut to 0..10.
    probability: that a drawn operation is applied.
    fill: (C,) unit values beyond the image, in timm the mean of the training data; left empty,
        timm's default of 128/255.
    rgb: where red, green and blue stand among the bands.
    """

    operations: int = 0
    magnitude: float = 9.0
    magnitude_std: float = 0.5
    probability: float = 0.5
    fill: tuple[float, ...] = ()
    rgb: tuple[int, ...] = ()

    def __call__(self, key: Array, image: Array) -> Array:
        """A changed `image` in unit values."""
        for operation_key in jax.random.split(key, self.operations):
            image = self._once(operation_key, image)
        return image

    def _once(self, key: Array, image: Array) -> Array:
        draw_key, magnitude_key = jax.random.split(key)
        chance, choice, sign = jax.random.uniform(draw_key, (3,))
        noise = self.magnitude_std * jax.random.normal(magnitude_key)
        level = jnp.clip(self.magnitude + noise, 0.0, MOST) / MOST
        fill = jnp.asarray(self.fill or (128 / STEPS,) * image.shape[-1], image.dtype)
        setting = OperationSettings(level, jnp.where(sign < 0.5, level, -level), fill, self.rgb)
        number = jnp.floor(choice * (len(VALUE_OPERATIONS) + len(GEOMETRIC_OPERATIONS))).astype(
            jnp.int32
        )
        changed = apply(number, image, setting)
        return jnp.where(chance < self.probability, changed, image)


def apply(number: Array | int, image: Array, setting: OperationSettings) -> Array:
    """The operation of that number, of those in `VALUE_OPERATIONS` and then
    `GEOMETRIC_OPERATIONS`, on an image.

    All are computed and one is chosen, as `vmap` would have it anyway; so those that move pixels
    share their sampling.
    """
    height, width = image.shape[:2]
    matrices = [matrix(setting.signed, height, width) for matrix in GEOMETRIC_OPERATIONS.values()]
    matrix = jnp.stack(matrices)[jnp.maximum(number - len(VALUE_OPERATIONS), 0)]
    moved = jnp.clip(affine.apply_affine(image, matrix, setting.fill), 0.0, 1.0)
    changed = [operation(image, setting) for operation in VALUE_OPERATIONS.values()]
    return jax.lax.select_n(jnp.minimum(number, len(VALUE_OPERATIONS)), *changed, moved)


def auto_contrast(image: Array, setting: OperationSettings) -> Array:
    """Each band stretched to 0..1; a band of one value stays."""
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    stretched = (image - low) / jnp.where(high > low, high - low, 1.0)
    return jnp.where(high > low, stretched, image)


def equalize(image: Array, setting: OperationSettings) -> Array:
    """Each band's 256 steps spread evenly over the pixels; values between two steps move between.

    As Pillow has it: a band of one value stays, and so does one in which fewer than 255 pixels are
    below its highest step.
    """
    return jax.vmap(_equalized, in_axes=2, out_axes=2)(image)


def invert(image: Array, setting: OperationSettings) -> Array:
    """What was dark is bright."""
    return 1.0 - image


def posterize(image: Array, setting: OperationSettings) -> Array:
    """The four to none highest bits of eight."""
    bits = 4 - jnp.floor(4 * setting.level)
    width = jnp.exp2(8 - bits)
    return jnp.floor(_steps(image) / width) * width / STEPS


def solarize(image: Array, setting: OperationSettings) -> Array:
    """Values from a threshold on inverted; the threshold falls from 256 to 0 of 255 steps."""
    threshold = 256 - jnp.floor(256 * setting.level)
    return jnp.where(_steps(image) < threshold, image, 1.0 - image)


def solarize_add(image: Array, setting: OperationSettings) -> Array:
    """Up to 110 steps added to the lower half of the values."""
    brighter = jnp.minimum(image + jnp.floor(110 * setting.level) / STEPS, 1.0)
    return jnp.where(_steps(image) < 128, brighter, image)


def color(image: Array, setting: OperationSettings) -> Array:
    """Blended with gray, or away from it."""
    return _blended(colour.gray(image, setting.rgb), image, setting)


def contrast(image: Array, setting: OperationSettings) -> Array:
    """Blended with the mean of gray, or away from it."""
    return _blended(colour.gray(image, setting.rgb).mean(axis=(0, 1)), image, setting)


def brightness(image: Array, setting: OperationSettings) -> Array:
    """Blended with black, or away from it."""
    return _blended(jnp.zeros_like(image), image, setting)


def sharpness(image: Array, setting: OperationSettings) -> Array:
    """Blended with the mean of 3 × 3 pixels, the middle counted five times, or away from it.

    The border of the image stays, as in Pillow.
    """
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    rows = [image[i : height - 2 + i] for i in range(3)]
    around = sum(row[:, j : width - 2 + j] for row in rows for j in range(3))
    smooth = (around + 4 * image[1:-1, 1:-1]) / 13
    return _blended(image.at[1:-1, 1:-1].set(smooth), image, setting)


def rotate(signed: Array, height: int, width: int) -> Array:
    """By up to 30° about the centre."""
    return affine.rotation_matrix(30 * signed, height, width)


def shear_x(signed: Array, height: int, width: int) -> Array:
    """Rows shifted by up to 0.3 times their distance from the top."""
    return _identity().at[0, 1].set(0.3 * signed)


def shear_y(signed: Array, height: int, width: int) -> Array:
    """Columns shifted by up to 0.3 times their distance from the left."""
    return _identity().at[1, 0].set(0.3 * signed)


def translate_x(signed: Array, height: int, width: int) -> Array:
    """By up to 0.45 times the width."""
    return _identity().at[0, 2].set(0.45 * signed * width)


def translate_y(signed: Array, height: int, width: int) -> Array:
    """By up to 0.45 times the height."""
    return _identity().at[1, 2].set(0.45 * signed * height)


VALUE_OPERATIONS: dict[str, Callable[[Array, OperationSettings], Array]] = {
    function.__name__: function
    for function in (
        auto_contrast,
        equalize,
        invert,
        posterize,
        solarize,
        solarize_add,
        color,
        contrast,
        brightness,
        sharpness,
    )
}
GEOMETRIC_OPERATIONS: dict[str, Callable[[Array, int, int], Array]] = {
    function.__name__: function for function in (rotate, shear_x, shear_y, translate_x, translate_y)
}


def _steps(image: Array) -> Array:
    """The nearest of the 256 steps: a picture of 8 bits gives its own values, whatever rounding."""
    return jnp.round(image * STEPS)


def _equalized(band: Array) -> Array:
    """One band (H, W) through the table of `ImageOps.equalize`."""
    steps = _steps(band)
    counts = jnp.zeros(256, jnp.int32).at[steps.astype(jnp.int32)].add(1)
    highest = steps.max().astype(jnp.int32)
    width = (band.size - counts[highest]) // 255
    below = jnp.cumsum(counts) - counts
    table = jnp.minimum((width // 2 + below) // jnp.maximum(width, 1), 255) / STEPS
    lower = jnp.floor(band * STEPS).astype(jnp.int32)
    upper = jnp.minimum(lower + 1, 255)
    moved = table[lower] + (band * STEPS - lower) * (table[upper] - table[lower])
    return jnp.where(width > 0, moved, band)


def _blended(other: Array, image: Array, setting: OperationSettings) -> Array:
    """`other` at factor 0, `image` at 1 and beyond it above; the factor is 1 ± 0.9 level."""
    factor = jnp.maximum(0.1, 1 + 0.9 * setting.signed)
    return jnp.clip(other + factor * (image - other), 0.0, 1.0)


def _identity() -> Array:
    return jnp.eye(2, 3)
