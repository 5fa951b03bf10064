"""RandAugment (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719) for any number of bands.

This is timm's `rand-m9-mstd0.5-inc1`, with which MAE is fine-tuned: operations of Pillow whose
strength grows with the magnitude. Pillow works on 8-bit images. Here images hold unit values in
0..1, that is 255 steps of 1/255, and are not rounded after each operation. On an 8-bit image every
operation agrees with Pillow's to one such step if Pillow truncates its result, and to one and a
half steps if Pillow also rounds an intermediate value (color, contrast, sharpness).

With bands other than red, green and blue,
- auto_contrast, equalize, invert, posterize, solarize, solarize_add, brightness and sharpness treat
  each band separately, as in Pillow;
- color blends with gray, and contrast with the mean of gray. Gray is the luma in the `rgb` bands,
  where the other bands are unchanged (color) or blend with their own mean (contrast); without `rgb`
  it is the mean of all bands;
- rotate, shear and translate move all bands together and use `fill` outside the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.augment import affine, colour

_MAX_MAGNITUDE = 10.0  # `_LEVEL_DENOM` of timm
_MAX_UINT8 = 255.0


class OperationSettings(NamedTuple):
    """The settings of an operation.

    Attributes:
        level: Strength in 0..1, the magnitude divided by 10; a scalar.
        signed_level: The level with a random sign; a scalar.
        fill: Unit values of pixels outside the image, (C,).
        rgb: Indices of red, green and blue among the bands.
    """

    level: Array
    signed_level: Array
    fill: Array
    rgb: tuple[int, ...]


@dataclass(frozen=True)
class RandAugment:
    """A sequence of random operations: `(key, image (C, H, W)) -> image (C, H, W)`.

    Attributes:
        operations: Number of operations drawn, with repetition; 0 leaves images unchanged.
        magnitude: Mean magnitude of an operation, in 0..10.
        magnitude_std: Standard deviation of the magnitude, which is clipped to 0..10.
        probability: Probability that a drawn operation is applied.
        fill: Unit values of pixels outside the image, (C,), in timm the mean of the training data.
            If empty, all are 128/255, timm's default.
        rgb: Indices of red, green and blue among the bands.
    """

    operations: int = 0
    magnitude: float = 9.0
    magnitude_std: float = 0.5
    probability: float = 0.5
    fill: tuple[float, ...] = ()
    rgb: tuple[int, ...] = ()

    def __call__(self, key: Array, image: Array) -> Array:
        """Apply random operations to an image.

        Args:
            key: Random key of the example.
            image: Image in unit values, (C, H, W).

        Returns:
            The changed image in unit values, (C, H, W).
        """
        for operation_key in jax.random.split(key, self.operations):
            image = self._apply_random_operation(operation_key, image)
        return image

    def _apply_random_operation(self, key: Array, image: Array) -> Array:
        draw_key, magnitude_key = jax.random.split(key)
        chance, choice, sign = jax.random.uniform(draw_key, (3,))
        noise = self.magnitude_std * jax.random.normal(magnitude_key)
        level = jnp.clip(self.magnitude + noise, 0.0, _MAX_MAGNITUDE) / _MAX_MAGNITUDE
        fill = jnp.asarray(self.fill or (128 / _MAX_UINT8,) * image.shape[0], image.dtype)
        settings = OperationSettings(level, jnp.where(sign < 0.5, level, -level), fill, self.rgb)
        num_operations = len(VALUE_OPERATIONS) + len(GEOMETRIC_OPERATIONS)
        index = jnp.floor(choice * num_operations).astype(jnp.int32)
        changed = apply_operation(index, image, settings)
        return jnp.where(chance < self.probability, changed, image)


def apply_operation(index: Array | int, image: Array, settings: OperationSettings) -> Array:
    """Apply the operation with the given index to an image.

    All operations are computed and one is selected, as happens under `vmap` in any case. For this
    reason the operations that move pixels share one resampling.

    Args:
        index: Index into the operations of `VALUE_OPERATIONS` followed by `GEOMETRIC_OPERATIONS`.
        image: Image in unit values, (C, H, W).
        settings: Settings of the operation.

    Returns:
        The changed image in unit values, (C, H, W).
    """
    height, width = image.shape[1:]
    matrices = [
        make_matrix(settings.signed_level, height, width)
        for make_matrix in GEOMETRIC_OPERATIONS.values()
    ]
    matrix = jnp.stack(matrices)[jnp.maximum(index - len(VALUE_OPERATIONS), 0)]
    moved = jnp.clip(affine.apply_affine(image, matrix, settings.fill), 0.0, 1.0)
    changed = [operation(image, settings) for operation in VALUE_OPERATIONS.values()]
    return jax.lax.select_n(jnp.minimum(index, len(VALUE_OPERATIONS)), *changed, moved)


def auto_contrast(image: Array, settings: OperationSettings) -> Array:
    """Stretch each band to 0..1; a constant band is unchanged."""
    low, high = image.min(axis=(1, 2), keepdims=True), image.max(axis=(1, 2), keepdims=True)
    stretched = (image - low) / jnp.where(high > low, high - low, 1.0)
    return jnp.where(high > low, stretched, image)


def equalize(image: Array, settings: OperationSettings) -> Array:
    """Equalise the histogram of each band, with 256 bins; values between two bins are interpolated.

    As in Pillow, a constant band is unchanged, and so is a band in which fewer than 255 pixels lie
    below its highest bin.
    """
    return jax.vmap(_equalize_band)(image)


def invert(image: Array, settings: OperationSettings) -> Array:
    """Invert all values."""
    return 1.0 - image


def posterize(image: Array, settings: OperationSettings) -> Array:
    """Keep the highest 4 to 0 of 8 bits; the number falls with the level."""
    bits = 4 - jnp.floor(4 * settings.level)
    width = jnp.exp2(8 - bits)
    return jnp.floor(_round_to_8_bits(image) / width) * width / _MAX_UINT8


def solarize(image: Array, settings: OperationSettings) -> Array:
    """Invert values from a threshold on, which falls with the level from 256/255 to 0."""
    threshold = 256 - jnp.floor(256 * settings.level)
    return jnp.where(_round_to_8_bits(image) < threshold, image, 1.0 - image)


def solarize_add(image: Array, settings: OperationSettings) -> Array:
    """Add up to 110/255 to the values below 128/255."""
    brighter = jnp.minimum(image + jnp.floor(110 * settings.level) / _MAX_UINT8, 1.0)
    return jnp.where(_round_to_8_bits(image) < 128, brighter, image)


def color(image: Array, settings: OperationSettings) -> Array:
    """Blend with gray, or away from it."""
    return _blend(colour.gray(image, settings.rgb), image, settings)


def contrast(image: Array, settings: OperationSettings) -> Array:
    """Blend with the mean of gray, or away from it."""
    gray = colour.gray(image, settings.rgb).mean(axis=(1, 2), keepdims=True)
    return _blend(gray, image, settings)


def brightness(image: Array, settings: OperationSettings) -> Array:
    """Blend with black, or away from it."""
    return _blend(jnp.zeros_like(image), image, settings)


def sharpness(image: Array, settings: OperationSettings) -> Array:
    """Blend with the mean of 3 × 3 pixels, or away from it; the middle pixel has weight 5.

    Border pixels are unchanged, as in Pillow.
    """
    height, width = image.shape[1:]
    if min(height, width) < 3:
        return image
    rows = [image[:, i : height - 2 + i] for i in range(3)]
    total = sum(row[:, :, j : width - 2 + j] for row in rows for j in range(3))
    smooth = (total + 4 * image[:, 1:-1, 1:-1]) / 13
    return _blend(image.at[:, 1:-1, 1:-1].set(smooth), image, settings)


def rotate(signed_level: Array, height: int, width: int) -> Array:
    """Return the matrix (2, 3) of a rotation by up to 30° about the centre."""
    return affine.rotation_matrix(30 * signed_level, height, width)


def shear_x(signed_level: Array, height: int, width: int) -> Array:
    """Return the matrix (2, 3) that shifts rows by up to 0.3 times the row coordinate."""
    return _identity_matrix().at[0, 1].set(0.3 * signed_level)


def shear_y(signed_level: Array, height: int, width: int) -> Array:
    """Return the matrix (2, 3) that shifts columns by up to 0.3 times the column coordinate."""
    return _identity_matrix().at[1, 0].set(0.3 * signed_level)


def translate_x(signed_level: Array, height: int, width: int) -> Array:
    """Return the matrix (2, 3) of a horizontal shift by up to 0.45 times the width."""
    return _identity_matrix().at[0, 2].set(0.45 * signed_level * width)


def translate_y(signed_level: Array, height: int, width: int) -> Array:
    """Return the matrix (2, 3) of a vertical shift by up to 0.45 times the height."""
    return _identity_matrix().at[1, 2].set(0.45 * signed_level * height)


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


def _round_to_8_bits(image: Array) -> Array:
    """Round unit values to integers 0..255; an 8-bit image gives exactly its own values."""
    return jnp.round(image * _MAX_UINT8)


def _equalize_band(band: Array) -> Array:
    """Map a band (H, W) through the lookup table of Pillow's `ImageOps.equalize`."""
    bins = _round_to_8_bits(band)
    counts = jnp.zeros(256, jnp.int32).at[bins.astype(jnp.int32)].add(1)
    highest = bins.max().astype(jnp.int32)
    width = (band.size - counts[highest]) // 255
    below = jnp.cumsum(counts) - counts
    table = jnp.minimum((width // 2 + below) // jnp.maximum(width, 1), 255) / _MAX_UINT8
    lower = jnp.floor(band * _MAX_UINT8).astype(jnp.int32)
    upper = jnp.minimum(lower + 1, 255)
    equalized = table[lower] + (band * _MAX_UINT8 - lower) * (table[upper] - table[lower])
    return jnp.where(width > 0, equalized, band)


def _blend(other: Array, image: Array, settings: OperationSettings) -> Array:
    """Interpolate between `other` (factor 0) and `image` (factor 1), or extrapolate.

    The factor is 1 ± 0.9 level, but at least 0.1.
    """
    factor = jnp.maximum(0.1, 1 + 0.9 * settings.signed_level)
    return jnp.clip(other + factor * (image - other), 0.0, 1.0)


def _identity_matrix() -> Array:
    return jnp.eye(2, 3)
