"""UperNet (Xiao et al. 2018, https://arxiv.org/abs/1807.10221), as mmsegmentation has it."""

from __future__ import annotations

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from ssl_jax.models.activations import gelu
from ssl_jax.models.norm import check_choice, make_norm
from ssl_jax.models.stochastic import dropout, fold_in_keys
from ssl_jax.models.vit import ViT

_he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class SegmentationLogits(NamedTuple):
    """Logits (B, H, W, num_classes) float32 of the head and of the auxiliary head."""

    logits: Array
    auxiliary: Array


class UperNet(nn.Module):
    """Segmentation from the four levels of a backbone.

    Parameters are under `backbone`, `neck` (for a ViT), `head` and `auxiliary`.

    Attributes:
        backbone: a ResNet or a ViT.
        num_classes: outputs for each pixel.
        channels: of the head.
        auxiliary_channels: of the auxiliary head, which is used in training only.
        pool_scales: sides of the pyramid pooling's grids.
        dropout: of whole channels before the classifiers, drawn only where keys are given.
        norm: `batch` (over all devices) or `group`, everywhere but in the backbone.
        dtype: of the arithmetic, everywhere but in the backbone.
    """

    backbone: nn.Module
    num_classes: int
    channels: int = 512
    auxiliary_channels: int = 256
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    dropout: float = 0.1
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("norm", self.norm, "batch", "group")

    def setup(self) -> None:  # noqa: D102
        shared = {"norm": self.norm, "dtype": self.dtype}
        if isinstance(self.backbone, ViT):
            self.neck = Neck(self.backbone.patch_size, **shared)
        classes = {"num_classes": self.num_classes, "dropout": self.dropout}
        self.head = UPerHead(
            channels=self.channels, pool_scales=self.pool_scales, **classes, **shared
        )
        self.auxiliary = FCNHead(channels=self.auxiliary_channels, **classes, **shared)

    def __call__(
        self, image: Array, train: bool = False, keys: Array | None = None
    ) -> Array | SegmentationLogits:
        """(B, H, W, C) of any size -> logits (B, H, W, num_classes) float32.

        In training a pair of these: the second are the auxiliary head's.
        """
        levels = self._levels(image, train, fold_in_keys(keys, 0))
        logits = self._at_pixels(self.head(levels, train, fold_in_keys(keys, 1)), image)
        if not train and not self.is_initializing():
            return logits
        auxiliary = self._at_pixels(self.auxiliary(levels[2], train, fold_in_keys(keys, 2)), image)
        return SegmentationLogits(logits, auxiliary) if train else logits

    def _levels(self, image: Array, train: bool, keys: Array | None) -> tuple[Array, ...]:
        if not isinstance(self.backbone, ViT):
            return self.backbone.levels(image, train, keys)
        height, width = self._whole_patches(image)
        beyond = ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2]), (0, 0))
        image = jnp.pad(image, beyond, mode="edge")
        return self.neck(self.backbone.levels(image, train, keys), train)

    def _at_pixels(self, logits: Array, image: Array) -> Array:
        height, width = self._whole_patches(image)
        return resize(logits, (height, width))[:, : image.shape[1], : image.shape[2]]

    def _whole_patches(self, image: Array) -> tuple[int, int]:
        """Height and width in pixels, filled up to whole patches for a ViT."""
        patch = self.backbone.patch_size if isinstance(self.backbone, ViT) else 1
        height, width = image.shape[1:3]
        return -(-height // patch) * patch, -(-width // patch) * patch


class UPerHead(nn.Module):
    """Pyramid pooling on the coarsest level, then a feature pyramid down to the finest."""

    num_classes: int
    channels: int
    pool_scales: tuple[int, ...]
    dropout: float
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, levels: tuple[Array, ...], train: bool, keys: Array | None = None) -> Array:
        """Maps (B, h, w, c), fine to coarse -> logits (B, h, w, num_classes), finest size."""

        def conv(kernel: int, name: str) -> ConvNorm:
            return ConvNorm(self.channels, kernel, self.norm, self.dtype, name=name)

        *finer, last = levels
        pooled = [
            resize(
                conv(1, f"psp_modules_{i}")(adaptive_average_pool(last, scale), train),
                last.shape[1:3],
            )
            for i, scale in enumerate(self.pool_scales)
        ]
        last = last.astype(self.dtype)
        top = conv(3, "bottleneck")(jnp.concatenate([last, *pooled], axis=-1), train)
        maps = [conv(1, f"lateral_convs_{i}")(x, train) for i, x in enumerate(finer)] + [top]
        for i in reversed(range(len(finer))):
            maps[i] += resize(maps[i + 1], maps[i].shape[1:3])
        maps[:-1] = [conv(3, f"fpn_convs_{i}")(x, train) for i, x in enumerate(maps[:-1])]
        size = maps[0].shape[1:3]
        fused = jnp.concatenate([resize(x, size) for x in maps], axis=-1)
        x = conv(3, "fpn_bottleneck")(fused, train)
        return _classify(x, self.num_classes, self.dropout, keys)


class FCNHead(nn.Module):
    """One convolution and a classifier, so that the backbone's middle learns of the classes too."""

    num_classes: int
    channels: int
    dropout: float
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, level: Array, train: bool, keys: Array | None = None) -> Array:
        """(B, h, w, c) -> logits (B, h, w, num_classes)."""
        x = ConvNorm(self.channels, 3, self.norm, self.dtype, name="conv")(level, train)
        return _classify(x, self.num_classes, self.dropout, keys)


class Neck(nn.Module):
    """The maps of a ViT, all of stride p, brought to strides of about 4, 8, 16 and 32.

    By powers of two: 4, 2, 1, ½ for patches of 16 pixels, 2, 1, ½, ¼ for 8 (`Feature2Pyramid` of
    mmsegmentation): deconvolutions with a norm and a GELU between them, or max-pooling.
    """

    patch_size: int
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, levels: tuple[Array, ...], train: bool) -> tuple[Array, ...]:
        """Four maps (B, h, w, c) of one size -> four that halve from one to the next."""
        patch = round(math.log2(self.patch_size))
        return tuple(
            self._rescale(x, patch - stride, f"level{i}", train)
            for i, (x, stride) in enumerate(zip(levels, (2, 3, 4, 5), strict=True))
        )

    def _rescale(self, x: Array, power: int, name: str, train: bool) -> Array:
        """Double `power` times, or halve -`power` times, rounding up."""
        channels = x.shape[-1]
        for i in range(power):
            if i > 0:
                norm = make_norm(self.norm, channels, train, self.dtype, f"{name}_bn{i}")
                x = gelu(norm(x))
            deconvolution = nn.ConvTranspose(
                channels, (2, 2), strides=(2, 2), dtype=self.dtype, name=f"{name}_deconv{i + 1}"
            )
            x = deconvolution(x)
        if power < 0:
            side = 2**-power
            beyond = [(0, -size % side) for size in x.shape[1:3]]
            x = nn.max_pool(x, (side, side), strides=(side, side), padding=beyond)
        return x


class ConvNorm(nn.Module):
    """Convolution without bias, norm, ReLU."""

    channels: int
    kernel: int
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """(B, h, w, c) -> (B, h, w, channels)."""
        x = nn.Conv(
            self.channels,
            (self.kernel, self.kernel),
            padding=self.kernel // 2,
            use_bias=False,
            kernel_init=_he_normal,
            dtype=self.dtype,
            name="conv",
        )(x)
        return nn.relu(make_norm(self.norm, self.channels, train, self.dtype, "bn")(x))


def _classify(x: Array, num_classes: int, rate: float, keys: Array | None) -> Array:
    """Dropout of whole channels and a 1×1 convolution, in float32; in the caller's scope."""
    x = dropout(keys, x, rate, whole_channels=True)
    normal = nn.initializers.normal(0.01)
    return nn.Conv(num_classes, (1, 1), kernel_init=normal, dtype=jnp.float32, name="classifier")(x)


def resize(x: Array, size: tuple[int, ...]) -> Array:
    """(B, h, w, c) -> (B, *size, c), bilinear between centres of pixels (`align_corners=False`)."""
    # By default JAX would smooth when it shrinks; PyTorch doesn't.
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "linear", antialias=False)


def adaptive_average_pool(x: Array, side: int) -> Array:
    """(B, h, w, c) -> (B, side, side, c): means over cells ⌊i h / side⌋ to ⌈(i + 1) h / side⌉.

    The cells overlap where the sides don't divide; as PyTorch's `AdaptiveAvgPool2d`, but as two
    matrix products, and in float32.
    """
    rows, columns = (jnp.asarray(_cell_means(size, side), jnp.float32) for size in x.shape[1:3])
    means = jnp.einsum(
        "ih,bhwc,jw->bijc", rows, x.astype(jnp.float32), columns, precision="highest"
    )
    return means.astype(x.dtype)


def _cell_means(size: int, cells: int) -> np.ndarray:
    """(cells, size): row i takes the mean of the i-th cell."""
    matrix = np.zeros((cells, size))
    for i in range(cells):
        start, end = i * size // cells, -(-(i + 1) * size // cells)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
