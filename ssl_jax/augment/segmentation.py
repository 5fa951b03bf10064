"""Random views of an image together with its mask, for segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.augment import colour, geometry


@dataclass(frozen=True)
class SegmentationAugmentation:
    """An augmentation of images with masks.

    It maps `(key, image (H, W, C), mask (H, W))` to `image (size, size, C), mask (size, size)`.
    With a size and a scale of (1, 1) it takes a random crop without resampling.

    Attributes:
        size: Side of the result, in pixels; 0 keeps the shape of the example.
        scale: Minimum and maximum factor by which the image is scaled before a square of `size` is
            cropped. Outside the image, the result is black and the mask is `ignore_label`.
        horizontal_flip: Whether to flip along the width with probability ½.
        vertical_flip: Whether to flip along the height with probability ½.
        quarter_turns: Whether to rotate by a random multiple of 90°.
        brightness: Strength of the image's brightness jitter.
        contrast: Strength of the image's contrast jitter, in random order with the brightness.
        ignore_label: Label of pixels outside the image.
    """

    size: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    horizontal_flip: bool = False
    vertical_flip: bool = False
    quarter_turns: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    ignore_label: int = 255

    @classmethod
    def aerial(
        cls,
        size: int,
        scale: tuple[float, float] = (0.5, 2.0),
        horizontal_flip: bool = True,
        vertical_flip: bool = True,
        quarter_turns: bool = True,
        brightness: float = 0.2,
        contrast: float = 0.2,
        ignore_label: int = 255,
    ) -> SegmentationAugmentation:
        """Create the views of aerial images.

        They have the scale range of mmsegmentation's recipes and all eight orientations. See the
        class for the arguments.
        """
        return cls(
            size=size,
            scale=scale,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
            quarter_turns=quarter_turns,
            brightness=brightness,
            contrast=contrast,
            ignore_label=ignore_label,
        )

    def __call__(self, key: Array, image: Array, mask: Array) -> tuple[Array, Array]:
        """Draw a view of an image and its mask.

        Args:
            key: Random key of the example.
            image: Image in unit values, (H, W, C).
            mask: Labels, (H, W) integer.

        Returns:
            The view of the image in unit values, (size, size, C), and of the mask, (size, size).
        """
        crop_key, orientation_key, jitter_key = jax.random.split(key, 3)
        height, width = mask.shape
        size = self.size or min(height, width)
        image = jnp.moveaxis(image, -1, 0)
        if self.scale != (1.0, 1.0) or (self.size and (height, width) != (size, size)):
            window = geometry.random_scaled_window(crop_key, height, width, size, self.scale)
            if self.scale == (1.0, 1.0):
                window = window._replace(top=jnp.round(window.top), left=jnp.round(window.left))
            largest = size / self.scale[0]
            image = geometry.resample(image, window, size, "bilinear", largest)
            mask = geometry.resample_mask(mask, window, size, self.ignore_label)
        image, mask = geometry.random_orientation(
            orientation_key,
            self.horizontal_flip,
            self.vertical_flip,
            self.quarter_turns,
            image,
            mask,
        )
        if self.brightness or self.contrast:
            strengths = (self.brightness, self.contrast, 0.0, 0.0)
            image = colour.Jitter.draw(jitter_key, strengths)(image)
        return jnp.moveaxis(image, 0, -1), mask
