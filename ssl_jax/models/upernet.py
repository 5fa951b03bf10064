"""UperNet (Xiao et al. 2018, https://arxiv.org/abs/1807.10221), as in mmsegmentation."""

from __future__ import annotations

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from ssl_jax.models.layers.activations import gelu
from ssl_jax.models.layers.convolution import Convolution
from ssl_jax.models.layers.norm import check_choice, make_norm
from ssl_jax.models.layers.stochastic import dropout, fold_in_keys
from ssl_jax.models.vit import ViT

_he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class SegmentationLogits(NamedTuple):
    """Logits in training.

    Attributes:
        logits: Logits of the head, (B, H, W, num_classes) float32.
        auxiliary: Logits of the auxiliary head, (B, H, W, num_classes) float32.
    """

    logits: Array
    auxiliary: Array


class UperNet(nn.Module):
    """A segmentation network on the four feature maps of a backbone.

    Parameters are under `backbone`, `neck` (for a ViT), `head` and `auxiliary`.

    Attributes:
        backbone: A ResNet or a ViT.
        num_classes: Number of outputs per pixel.
        channels: Channels of the head.
        auxiliary_channels: Channels of the auxiliary head, which is used in training only.
        pool_scales: Sides of the grids of pyramid pooling.
        dropout: Rate of dropout of whole channels before the classifiers; applied only if keys are
            given.
        norm: `batch` (over all devices) or `group`, everywhere except in the backbone.
        dtype: Dtype of the computations, everywhere except in the backbone.
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
        """Compute the logits of each pixel.

        Args:
            image: Standardised images of any size, (B, H, W, C).
            train: Whether to use the batch's statistics in batch norm and to return the logits of
                the auxiliary head, too.
            keys: Random keys of the examples for dropout and drop path, (B,).

        Returns:
            Logits, (B, H, W, num_classes) float32, or a pair with those of the auxiliary head if
            `train`.
        """
        levels = self._levels(image, train, fold_in_keys(keys, 0))
        logits = self._resize_to_image(self.head(levels, train, fold_in_keys(keys, 1)), image)
        if not train and not self.is_initializing():
            return logits
        auxiliary = self._resize_to_image(
            self.auxiliary(levels[2], train, fold_in_keys(keys, 2)), image
        )
        return SegmentationLogits(logits, auxiliary) if train else logits

    def _levels(self, image: Array, train: bool, keys: Array | None) -> tuple[Array, ...]:
        """Compute the backbone's maps (B, h, w, c), for a ViT of the padded image and rescaled."""
        if not isinstance(self.backbone, ViT):
            return self.backbone.levels(image, train, keys)
        height, width = self._padded_size(image)
        padding = ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2]), (0, 0))
        image = jnp.pad(image, padding, mode="edge")
        return self.neck(self.backbone.levels(image, train, keys), train)

    def _resize_to_image(self, logits: Array, image: Array) -> Array:
        height, width = self._padded_size(image)
        return resize(logits, (height, width))[:, : image.shape[1], : image.shape[2]]

    def _padded_size(self, image: Array) -> tuple[int, int]:
        """Return height and width in pixels, rounded up to whole patches for a ViT."""
        patch_size = self.backbone.patch_size if isinstance(self.backbone, ViT) else 1
        height, width = image.shape[1:3]
        return -(-height // patch_size) * patch_size, -(-width // patch_size) * patch_size


class UPerHead(nn.Module):
    """Pyramid pooling on the coarsest map, then a feature pyramid down to the finest.

    Attributes:
        num_classes: Number of outputs per pixel.
        channels: Channels of the convolutions.
        pool_scales: Sides of the grids of pyramid pooling.
        dropout: Rate of dropout before the classifier.
        norm: `batch` or `group`.
        dtype: Dtype of the computations.
    """

    num_classes: int
    channels: int
    pool_scales: tuple[int, ...]
    dropout: float
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, levels: tuple[Array, ...], train: bool, keys: Array | None = None) -> Array:
        """Compute logits of the size of the finest map.

        Args:
            levels: Feature maps from fine to coarse, (B, h, w, c) each.
            train: Whether to use the batch's statistics in batch norm.
            keys: Random keys of the examples for dropout, (B,).

        Returns:
            Logits, (B, h, w, num_classes) float32.
        """

        def conv(kernel: int, name: str) -> ConvNorm:
            return ConvNorm(self.channels, kernel, self.norm, self.dtype, name=name)

        *finer, coarsest = levels
        pooled = [
            resize(
                conv(1, f"psp_modules_{i}")(adaptive_average_pool(coarsest, scale), train),
                coarsest.shape[1:3],
            )
            for i, scale in enumerate(self.pool_scales)
        ]
        coarsest = coarsest.astype(self.dtype)
        top = conv(3, "bottleneck")(jnp.concatenate([coarsest, *pooled], axis=-1), train)
        maps = [conv(1, f"lateral_convs_{i}")(x, train) for i, x in enumerate(finer)] + [top]
        for i in reversed(range(len(finer))):
            maps[i] += resize(maps[i + 1], maps[i].shape[1:3])
        maps[:-1] = [conv(3, f"fpn_convs_{i}")(x, train) for i, x in enumerate(maps[:-1])]
        size = maps[0].shape[1:3]
        stacked = jnp.concatenate([resize(x, size) for x in maps], axis=-1)
        x = conv(3, "fpn_bottleneck")(stacked, train)
        return _classify(x, self.num_classes, self.dropout, keys)


class FCNHead(nn.Module):
    """One convolution and a classifier: an auxiliary loss for the backbone's intermediate layers.

    Attributes:
        num_classes: Number of outputs per pixel.
        channels: Channels of the convolution.
        dropout: Rate of dropout before the classifier.
        norm: `batch` or `group`.
        dtype: Dtype of the computations.
    """

    num_classes: int
    channels: int
    dropout: float
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, level: Array, train: bool, keys: Array | None = None) -> Array:
        """Compute logits (B, h, w, num_classes) float32 of a map (B, h, w, c); keys are (B,)."""
        x = ConvNorm(self.channels, 3, self.norm, self.dtype, name="conv")(level, train)
        return _classify(x, self.num_classes, self.dropout, keys)


class Neck(nn.Module):
    """Rescaling of a ViT's maps, all of stride p, to strides of about 4, 8, 16 and 32.

    The factors are powers of two: 4, 2, 1 and ½ for patches of 16 pixels, 2, 1, ½ and ¼ for patches
    of 8. As in mmsegmentation's `Feature2Pyramid`, maps are enlarged by deconvolutions with a norm
    and a GELU between them, and reduced by max-pooling.

    Attributes:
        patch_size: Side of a patch, p, in pixels.
        norm: `batch` or `group`.
        dtype: Dtype of the computations.
    """

    patch_size: int
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, levels: tuple[Array, ...], train: bool) -> tuple[Array, ...]:
        """Rescale four maps (B, h, w, c) of one size to four that halve from one to the next."""
        log_patch_size = round(math.log2(self.patch_size))
        return tuple(
            self._rescale(x, log_patch_size - log_stride, f"level{i}", train)
            for i, (x, log_stride) in enumerate(zip(levels, (2, 3, 4, 5), strict=True))
        )

    def _rescale(self, x: Array, power: int, name: str, train: bool) -> Array:
        """Rescale a map (B, h, w, c) by 2 to the `power`, rounding its size up."""
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
            padding = [(0, -size % side) for size in x.shape[1:3]]
            x = nn.max_pool(x, (side, side), strides=(side, side), padding=padding)
        return x


class ConvNorm(nn.Module):
    """A convolution without bias, a norm and a ReLU.

    Attributes:
        channels: Number of output channels.
        kernel: Side of the kernel, in pixels.
        norm: `batch` or `group`.
        dtype: Dtype of the computations.
    """

    channels: int
    kernel: int
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Map (B, h, w, c) to (B, h, w, channels)."""
        x = Convolution(
            self.channels, self.kernel, kernel_init=_he_normal, dtype=self.dtype, name="conv"
        )(x)
        return nn.relu(make_norm(self.norm, self.channels, train, self.dtype, "bn")(x))


def _classify(x: Array, num_classes: int, rate: float, keys: Array | None) -> Array:
    """Apply dropout of whole channels and a 1×1 convolution, in float32, in the caller's scope."""
    x = dropout(keys, x, rate, whole_channels=True)
    normal = nn.initializers.normal(0.01)
    return Convolution(
        num_classes, 1, use_bias=True, kernel_init=normal, dtype=jnp.float32, name="classifier"
    )(x)


def resize(x: Array, size: tuple[int, ...]) -> Array:
    """Resize a map bilinearly between centres of pixels (`align_corners=False`).

    Args:
        x: Map, (B, h, w, c).
        size: Height and width of the result.

    Returns:
        The resized map, (B, *size, c).
    """
    # By default JAX applies antialiasing when it shrinks; PyTorch doesn't.
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "linear", antialias=False)


def adaptive_average_pool(x: Array, side: int) -> Array:
    """Average a map over a grid of bins: ⌊i h / side⌋ to ⌈(i + 1) h / side⌉ along the height.

    The bins overlap if the sides are not divisible. This is PyTorch's `AdaptiveAvgPool2d`, but as
    two matrix products, and in float32.

    Args:
        x: Map, (B, h, w, c).
        side: Number of bins along each axis.

    Returns:
        The means of the bins, (B, side, side, c), of the dtype of `x`.
    """
    rows, columns = (jnp.asarray(_averaging_matrix(n, side), jnp.float32) for n in x.shape[1:3])
    means = jnp.einsum(
        "ih,bhwc,jw->bijc", rows, x.astype(jnp.float32), columns, precision="highest"
    )
    return means.astype(x.dtype)


def _averaging_matrix(size: int, num_bins: int) -> np.ndarray:
    """Return the matrix (num_bins, size) whose row i takes the mean of the i-th bin."""
    matrix = np.zeros((num_bins, size))
    for i in range(num_bins):
        start, end = i * size // num_bins, -(-(i + 1) * size // num_bins)
        matrix[i, start:end] = 1 / (end - start)
    return matrix
