"""Random views of an example: operations with their strengths and probabilities.

An augmentation maps (key, image) to an image. It works on one example with unit values in 0..1 and
any number of bands. Objectives `vmap` it over the batch with one key per example, so that a view
depends on the example and the step but not on the devices. The default is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.augment import blur, colour, geometry
from ssl_jax.augment.erasing import Erasing
from ssl_jax.augment.randaugment import RandAugment

_NO_RANDAUGMENT, _NO_ERASING = RandAugment(operations=0), Erasing(probability=0.0)
# An example's key is split into those of crop, orientation, jitter, probabilities, RandAugment and
# erasing.
_NUM_KEYS = 6


@dataclass(frozen=True)
class Augmentation:
    """An augmentation of images: `(key, image (H, W, C)) -> image (size, size, C)`.

    Its operations work on (C, H, W).

    Attributes:
        size: Side of the result, in pixels; 0 keeps the shape of the image.
        crop_scale: Minimum and maximum area of the random crop, as fractions of the image. If both
            `crop_scale` and `crop_ratio` are (1, 1), the crop is not random but centred.
        crop_ratio: Minimum and maximum width over height of the random crop.
        centre: Fraction of the shorter side that a centred crop keeps.
        interpolation: `bilinear` or `bicubic`, both antialiased.
        horizontal_flip: Whether to flip along the width with probability ½.
        vertical_flip: Whether to flip along the height with probability ½.
        quarter_turns: Whether to rotate by a random multiple of 90°.
        brightness: Strength of the colour jitter's brightness.
        contrast: Strength of the colour jitter's contrast.
        saturation: Strength of the colour jitter's saturation.
        hue: Strength of the colour jitter's hue.
        jitter_probability: Probability of the colour jitter, for all four operations together.
        gray_probability: Probability of converting the view to gray.
        blur_probability: Probability of a Gaussian blur.
        blur_sigma: Minimum and maximum standard deviation of the blur, in pixels of the result.
        rgb: Indices of red, green and blue among the bands, on which saturation, hue and the luma
            of gray act. If empty, saturation and hue are skipped and gray is the mean of all bands.
        randaugment: Operations drawn after the flips.
        erasing: Erasing applied by `erase` to the standardised view.
    """

    size: int = 0
    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    centre: float = 1.0
    interpolation: str = "bilinear"
    horizontal_flip: bool = False
    vertical_flip: bool = False
    quarter_turns: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    jitter_probability: float = 1.0
    gray_probability: float = 0.0
    blur_probability: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    rgb: tuple[int, ...] = ()
    randaugment: RandAugment = _NO_RANDAUGMENT
    erasing: Erasing = _NO_ERASING

    @classmethod
    def simclr(
        cls,
        size: int,
        rgb: tuple[int, ...] = (),
        crop_scale: tuple[float, float] = (0.08, 1.0),
        crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
        horizontal_flip: bool = True,
        vertical_flip: bool = True,
        brightness: float = 0.8,
        contrast: float = 0.8,
        saturation: float = 0.8,
        hue: float = 0.2,
        jitter_probability: float = 0.8,
        gray_probability: float = 0.2,
        blur_probability: float = 0.5,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
    ) -> Augmentation:
        """Create the views of SimCLR (Chen et al. 2020, appendix A).

        Only `vertical_flip` is not from the paper: satellite images have no upright orientation.
        See the class for the arguments.
        """
        return cls(
            size=size,
            crop_scale=crop_scale,
            crop_ratio=crop_ratio,
            interpolation=interpolation,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            jitter_probability=jitter_probability,
            gray_probability=gray_probability,
            blur_probability=blur_probability,
            blur_sigma=blur_sigma,
            rgb=rgb,
        )

    @classmethod
    def mae(
        cls,
        size: int,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        crop_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
        horizontal_flip: bool = True,
        vertical_flip: bool = False,
    ) -> Augmentation:
        """Create the views of MAE's pretraining (He et al. 2022, main_pretrain.py).

        They are a bicubic crop of at least a fifth of the area and a flip. See the class for the
        arguments.
        """
        return cls(
            size=size,
            crop_scale=crop_scale,
            crop_ratio=crop_ratio,
            interpolation=interpolation,
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
        )

    @classmethod
    def finetune(
        cls,
        size: int,
        crop_scale: tuple[float, float] = (0.08, 1.0),
        vertical_flip: bool = True,
        operations: int = 0,
        magnitude: float = 9.0,
        magnitude_std: float = 0.5,
        erasing: float = 0.0,
        fill: tuple[float, ...] = (),
        rgb: tuple[int, ...] = (),
    ) -> Augmentation:
        """Create the views of supervised training, as timm's `create_transform` does.

        They are crop, flips, RandAugment and erasing; the last two are off by default. MAE's
        fine-tuning has `operations` 2, `magnitude` 9, `magnitude_std` 0.5 and a probability
        `erasing` of 0.25. `vertical_flip` is not from timm. See the class and `RandAugment` for the
        arguments.
        """
        return cls(
            size=size,
            crop_scale=crop_scale,
            crop_ratio=(3 / 4, 4 / 3),
            interpolation="bicubic",
            horizontal_flip=True,
            vertical_flip=vertical_flip,
            randaugment=RandAugment(operations, magnitude, magnitude_std, fill=fill, rgb=rgb),
            erasing=Erasing(erasing),
        )

    @classmethod
    def evaluation(cls, size: int, centre: float = 1.0) -> Augmentation:
        """Create the deterministic views of evaluation: the centred square, resized.

        Args:
            size: Side of the result, in pixels; 0 keeps the shape of the image.
            centre: Fraction of the shorter side to keep; usually 0.875 for ImageNet.
        """
        return cls(size=size, centre=centre, interpolation="bicubic")

    @property
    def deterministic(self) -> bool:
        """Whether the view does not depend on the key."""
        return self == Augmentation(
            size=self.size, centre=self.centre, interpolation=self.interpolation, rgb=self.rgb
        )

    def __call__(self, key: Array, image: Array) -> Array:
        """Draw a view of an image, without erasing.

        Args:
            key: Random key of the example.
            image: Image in unit values, (H, W, C).

        Returns:
            The view in unit values, (size, size, C).
        """
        return jnp.moveaxis(self._draw_planes(key, jnp.moveaxis(image, -1, 0)), 0, -1)

    def _draw_planes(self, key: Array, image: Array) -> Array:
        """Draw a view (C, size, size) of an image (C, H, W)."""
        crop_key, orientation_key, jitter_key, chance_key, randaugment_key, _ = jax.random.split(
            key, _NUM_KEYS
        )
        jitter_chance, gray_chance, blur_chance, sigma = jax.random.uniform(chance_key, (4,))
        image = self._crop(crop_key, image)
        image = geometry.random_orientation(
            orientation_key, self.horizontal_flip, self.vertical_flip, self.quarter_turns, image
        )[0]
        image = self.randaugment(randaugment_key, image)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        if any(strengths) or self.gray_probability:
            is_jittered = jitter_chance < self.jitter_probability
            is_gray = gray_chance < self.gray_probability
            image = colour.Jitter.draw(jitter_key, strengths, self.rgb, is_jittered, is_gray)(image)
        if self.blur_probability:
            low, high = self.blur_sigma
            radius = blur.blur_radius(min(image.shape[1:]))
            blurred = blur.gaussian_blur(image, low + (high - low) * sigma, radius)
            image = jnp.where(blur_chance < self.blur_probability, blurred, image)
        return image

    def erase(self, key: Array, view: Array) -> Array:
        """Erase a random rectangle of a standardised view.

        Args:
            key: Random key of the example, the same as for drawing the view.
            view: Standardised view, (size, size, C).

        Returns:
            The view with a rectangle erased, (size, size, C).
        """
        return self.erasing(jax.random.split(key, _NUM_KEYS)[-1], view)

    def _crop(self, key: Array, image: Array) -> Array:
        height, width = image.shape[1:]
        size = self.size or min(height, width)
        if self.crop_scale != (1.0, 1.0) or self.crop_ratio != (1.0, 1.0):
            window = geometry.random_window(key, height, width, self.crop_scale, self.crop_ratio)
        elif self.centre != 1.0 or (self.size and (height, width) != (size, size)):
            window = geometry.centre_window(height, width, self.centre)
        else:
            return image
        # The cubic kernel overshoots at edges.
        return jnp.clip(geometry.resample(image, window, size, self.interpolation), 0.0, 1.0)
