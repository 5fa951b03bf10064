"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of neighbouring examples, as in timm.

    mixup:  image = λ · own + (1 - λ) · other        targets alike
    cutmix: image = own, a box of (1 - λ) of the area from the other

https://arxiv.org/abs/1710.09412, https://arxiv.org/abs/1905.04899; timm's `Mixup` pairs a batch
with its flip. Here the pairs are neighbours in the batch, which is in random order either way: they
lie on one device and in one micro-batch, so that a step is the same on any number of devices and
however it is accumulated, and no image has to travel.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True)
class Mix:
    """Pairs of images and their targets, mixed; by default they are left as they are.

    mixup, cutmix: α of the Beta(α, α) that λ is drawn from; 0 for never.
    probability: that there is any mixing.
    switch_probability: that it is cutmix, where both are given.
    mode: `batch`, one draw for the whole batch of a step, over all devices, or `pair`, one for each
        pair. As MAE runs timm's `batch`, it is one for the 32 images of a GPU.
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
        """How many neighbours have to be in one micro-batch: 2, or 1 without any mixing."""
        return 2 if self.mixup or self.cutmix else 1

    def __call__(
        self, key: Array, index: Array, images: Array, targets: Array
    ) -> tuple[Array, Array]:
        """Mix each example with its neighbour.

        Args:
            key: of the step.
            index: (B,) the examples' global numbers.
            images: (B, H, W, C), standardised.
            targets: (B, classes), shares of the classes, or of each label.
        """
        if self.group_size == 1:
            return images, targets
        height, width = images.shape[1:3]
        keys = key[None]
        if self.mode == "pair":
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index[::2])
        pixels, share = jax.vmap(lambda k: self.shares(k, height, width))(keys)
        return _blended(pixels[:, None, ..., None], images), _blended(share[:, None, None], targets)

    def shares(self, key: Array, height: int, width: int) -> tuple[Array, Array]:
        """What pixels (H, W) and targets () keep of their own.

        λ, or with cutmix 0 in a box and 1 outside; the targets then the share of the pixels that
        are outside, as the box is cut at the border.
        """
        beta_key, box_key = jax.random.split(key)
        chance, switch, y, x = jax.random.uniform(box_key, (4,))
        both = self.mixup and self.cutmix
        cut = switch < (self.switch_probability if both else float(self.cutmix > 0))
        alpha = jnp.where(cut, self.cutmix, self.mixup)
        own = jax.random.beta(beta_key, alpha, alpha)
        own = jnp.where(chance < self.probability, own, 1.0)
        box = _span(y, height, own)[:, None] & _span(x, width, own)[None, :]
        outside = 1 - box.sum() / (height * width)
        return jnp.where(cut, 1.0 - box, own), jnp.where(cut, outside, own)


def _blended(own: Array, x: Array) -> Array:
    """x (B, ...), of which each keeps the share `own` (B / 2 or 1, 1, ...)."""
    pairs = x.reshape(-1, 2, *x.shape[1:])
    return (own * pairs + (1 - own) * pairs[:, ::-1]).reshape(x.shape)


def _span(draw: Array, length: int, own: Array) -> Array:
    """Which of `length` pixels a side of the box covers: √(1 - λ) of them, about a drawn one."""
    side = jnp.floor(length * jnp.sqrt(1 - own))
    centre = jnp.floor(length * draw)
    pixels = jnp.arange(length)
    return (pixels >= centre - side // 2) & (pixels < centre + (side + 1) // 2)
