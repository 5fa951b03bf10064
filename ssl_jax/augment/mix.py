"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of neighbouring examples, as in timm.

    mixup:  image = λ · own + (1 - λ) · other        targets likewise
    cutmix: image = own, except for a box of (1 - λ) of the area, which is the other's

https://arxiv.org/abs/1710.09412, https://arxiv.org/abs/1905.04899. timm's `Mixup` pairs a batch
with its reverse. Here the pairs are neighbours in the batch, which is in random order in either
case. They lie on one device and in one micro-batch, so that a step is the same for any number of
devices and any gradient accumulation, and no image is sent to another device.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True)
class Mix:
    """Mixing of pairs of images and of their targets; the default is no mixing.

    Attributes:
        mixup: α of the distribution Beta(α, α) of mixup's λ; 0 disables mixup.
        cutmix: α of the distribution Beta(α, α) of CutMix's λ; 0 disables CutMix.
        probability: Probability that a draw mixes at all.
        switch_probability: Probability of CutMix rather than mixup, if both are enabled.
        mode: `batch`, one draw for the whole batch of a step over all devices, or `pair`, one draw
            for each pair. (MAE runs timm's `batch` with one draw for the 32 images of a GPU.)
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    switch_probability: float = 0.5
    mode: str = "batch"

    def __post_init__(self) -> None:
        if self.mode not in ("batch", "pair"):
            raise ValueError(f"mode: found {self.mode!r}; expected batch or pair")

    @property
    def group_size(self) -> int:
        """Number of neighbours that must be in one micro-batch: 2, or 1 without mixing."""
        return 2 if self.mixup or self.cutmix else 1

    def __call__(
        self, key: Array, index: Array, images: Array, targets: Array
    ) -> tuple[Array, Array]:
        """Mix each example with its neighbour.

        Args:
            key: Random key of the step.
            index: Global indices of the examples, (B,).
            images: Standardised images, (B, H, W, C).
            targets: Probability of each class, or of each label, (B, classes).

        Returns:
            The mixed images and targets, of the same shapes.
        """
        if self.group_size == 1:
            return images, targets
        height, width = images.shape[1:3]
        keys = key[None]
        if self.mode == "pair":
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index[::2])
        pixels, target = jax.vmap(lambda k: self.draw_weights(k, height, width))(keys)
        return (
            _mix_pairs(pixels[:, None, ..., None], images),
            _mix_pairs(target[:, None, None], targets),
        )

    def draw_weights(self, key: Array, height: int, width: int) -> tuple[Array, Array]:
        """Draw the weights of an example itself, as opposed to those of its neighbour.

        Args:
            key: Random key.
            height: Height of the images, in pixels.
            width: Width of the images, in pixels.

        Returns:
            The weight of each pixel (H, W) and of the target (). With mixup both are λ. With CutMix
            pixels have weight 0 in a box and 1 outside, and the target has the fraction of pixels
            outside, since the box is clipped at the border.
        """
        beta_key, box_key = jax.random.split(key)
        chance, switch, y, x = jax.random.uniform(box_key, (4,))
        both = self.mixup and self.cutmix
        cut = switch < (self.switch_probability if both else float(self.cutmix > 0))
        alpha = jnp.where(cut, self.cutmix, self.mixup)
        lam = jax.random.beta(beta_key, alpha, alpha)
        lam = jnp.where(chance < self.probability, lam, 1.0)
        box = _box_interval(y, height, lam)[:, None] & _box_interval(x, width, lam)[None, :]
        outside = 1 - box.sum() / (height * width)
        return jnp.where(cut, 1.0 - box, lam), jnp.where(cut, outside, lam)


def _mix_pairs(weight: Array, x: Array) -> Array:
    """Mix the pairs of x (B, ...), in which each row has `weight` (B / 2 or 1, 1, ...) itself."""
    pairs = x.reshape(-1, 2, *x.shape[1:])
    return (weight * pairs + (1 - weight) * pairs[:, ::-1]).reshape(x.shape)


def _box_interval(draw: Array, length: int, lam: Array) -> Array:
    """Return which pixels (length,) of an axis are in the box: √(1 - λ) of them.

    The box is centred on the pixel given by `draw`, a number in 0..1.
    """
    side = jnp.floor(length * jnp.sqrt(1 - lam))
    centre = jnp.floor(length * draw)
    pixels = jnp.arange(length)
    return (pixels >= centre - side // 2) & (pixels < centre + (side + 1) // 2)
