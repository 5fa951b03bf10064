"""Random views of an example, as one value: what is drawn, how strongly, with which probability.

An augmentation maps (key, image) to an image. It works on one example with unit values in 0..1 and
any number of bands; objectives `vmap` it over the batch with one key an example, so that a view
depends on the example and the step but not on the devices. By default it is the identity.
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
_KEYS = 6  # an example's key is split into: crop, place, jitter, chances, RandAugment and erasing


@dataclass(frozen=True)
class Augmentation:
    """`(key, image (H, W, C)) -> image (size, size, C)`.

    size: side of the result in pixels; 0 keeps the shape of the image.
    crop_scale, crop_ratio: share of the area and width/height of the random crop; (1, 1) and (1, 1)
        crop nothing at random but take the centre.
    centre: share of the shorter side that is kept when nothing is cropped at random.
    interpolation: "bilinear" or "bicubic", both antialiased.
    brightness, contrast, saturation, hue: strengths of the colour jitter, applied together with
        probability `jitter_probability`.
    blur_sigma: smallest and largest standard deviation of the blur, in pixels of the result.
    randaugment: operations drawn after the flips.
    erasing: what `erase` does to the view once it is standardised.
    rgb: where red, green and blue stand among the bands. Saturation, hue and luma gray then act on
        these three; left empty, saturation and hue are skipped and gray is the mean of all bands.
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
        """Chen et al. 2020, appendix A. `vertical_flip` is ours: a satellite knows no upside."""
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
        """He et al. 2022, main_pretrain.py: crop of a fifth or more, bicubic, flip."""
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
        """Supervised training as timm's `create_transform` has it.

        Crop, flips, RandAugment and erasing; the last two are off by default. `operations`,
        `magnitude`, `magnitude_std`, `fill` and `rgb` are those of `RandAugment`, `erasing` is a
        probability; MAE's fine-tuning has 2, 9, 0.5 and 0.25. `vertical_flip` is ours.
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
        """Nothing random: the centred square, resized. ImageNet's custom is a `centre` of 0.875."""
        return cls(size=size, centre=centre, interpolation="bicubic")

    @property
    def deterministic(self) -> bool:
        """Whether the key makes no difference."""
        return self == Augmentation(
            size=self.size, centre=self.centre, interpolation=self.interpolation, rgb=self.rgb
        )

    def __call__(self, key: Array, image: Array) -> Array:
        """A view of `image` (H, W, C) in unit values."""
        crop_key, place_key, jitter_key, chance_key, randaugment_key, _ = jax.random.split(
            key, _KEYS
        )
        jitter_chance, gray_chance, blur_chance, sigma = jax.random.uniform(chance_key, (4,))
        image = self._crop(crop_key, image)
        image = _place(
            place_key, self.horizontal_flip, self.vertical_flip, self.quarter_turns, image
        )[0]
        image = self.randaugment(randaugment_key, image)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        if any(strengths):
            jittered = colour.jitter(jitter_key, image, strengths, self.rgb)
            image = jnp.where(jitter_chance < self.jitter_probability, jittered, image)
        if self.gray_probability:
            chosen = gray_chance < self.gray_probability
            image = jnp.where(chosen, colour.gray(image, self.rgb), image)
        if self.blur_probability:
            low, high = self.blur_sigma
            radius = blur.blur_radius(min(image.shape[:2]))
            blurred = blur.gaussian_blur(image, low + (high - low) * sigma, radius)
            image = jnp.where(blur_chance < self.blur_probability, blurred, image)
        return image

    def erase(self, key: Array, view: Array) -> Array:
        """The view of the same key, standardised, with a random part of it erased."""
        return self.erasing(jax.random.split(key, _KEYS)[-1], view)

    def _crop(self, key: Array, image: Array) -> Array:
        height, width = image.shape[:2]
        size = self.size or min(height, width)
        if self.crop_scale != (1.0, 1.0) or self.crop_ratio != (1.0, 1.0):
            window = geometry.random_window(key, height, width, self.crop_scale, self.crop_ratio)
        elif self.centre != 1.0 or (self.size and (height, width) != (size, size)):
            window = geometry.centre_window(height, width, self.centre)
        else:
            return image
        # The cubic kernel overshoots at edges.
        return jnp.clip(geometry.resample(image, window, size, self.interpolation), 0.0, 1.0)


@dataclass(frozen=True)
class SegmentationAugmentation:
    """`(key, image (H, W, C), mask (H, W)) -> image (size, size, C), mask (size, size)`.

    size: side of the result in pixels; 0 keeps the shape of the example.
    scale: the image is enlarged by a factor drawn from here before a square of `size` is cut out;
        beyond its border the image is black and the mask is `ignore_label`.
    brightness, contrast: strengths of the jitter of the image, in random order.

    With a size and scale (1, 1) it crops at random without resampling.
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
        """The scale range of mmsegmentation's recipes and all eight orientations of a map."""
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
        """The same random part of `image` (H, W, C), in unit values, and `mask` (H, W)."""
        crop_key, place_key, jitter_key = jax.random.split(key, 3)
        height, width = mask.shape
        size = self.size or min(height, width)
        if self.scale != (1.0, 1.0) or (self.size and (height, width) != (size, size)):
            window = geometry.random_scaled_window(crop_key, height, width, size, self.scale)
            if self.scale == (1.0, 1.0):
                window = window._replace(top=jnp.round(window.top), left=jnp.round(window.left))
            image = geometry.resample(image, window, size, "bilinear")
            mask = geometry.resample_mask(mask, window, size, self.ignore_label)
        image, mask = _place(
            place_key, self.horizontal_flip, self.vertical_flip, self.quarter_turns, image, mask
        )
        if self.brightness or self.contrast:
            image = colour.jitter(jitter_key, image, (self.brightness, self.contrast, 0.0, 0.0))
        return image, mask


def _place(
    key: Array, horizontal: bool, vertical: bool, turns: bool, *images: Array
) -> tuple[Array, ...]:
    """The same random flips and quarter turn for all images and masks of an example."""
    draws = jax.random.uniform(key, (3,))
    for wanted, draw, flip in (
        (horizontal, draws[0], geometry.horizontal_flip),
        (vertical, draws[1], geometry.vertical_flip),
    ):
        if wanted:
            images = tuple(jnp.where(draw < 0.5, flip(x), x) for x in images)
    if turns:
        number = jnp.floor(4 * draws[2]).astype(jnp.int32)
        images = tuple(geometry.quarter_turns(x, number) for x in images)
    return images
