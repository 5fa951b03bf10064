"""Residual networks (He et al. 2016), by default with the stride in the 3×3 convolution ("v1.5").

Padding is symmetric as in PyTorch, 3 pixels in the stem and 1 elsewhere. The names of the
parameters are those of torchvision and timm, with `_` before the index of a block:
`layer1_0/conv1/kernel`, `layer1_0/downsample_1/scale`.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ssl_jax.models.layers.convolution import Convolution
from ssl_jax.models.layers.norm import check_choice, make_norm
from ssl_jax.models.layers.pooling import max_pool

_he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """A residual network, by default ResNet-50.

    Attributes:
        stages: Number of blocks of each stage; the stages have strides 4, 8, 16 and 32.
        bottleneck: Whether blocks are 1×1, 3×3 and 1×1 convolutions rather than two of 3×3.
        width: Channels of the stem, which double from stage to stage.
        small_stem: Whether the stem is one 3×3 convolution without pooling, for images of up to 32
            pixels (SimCLR, appendix B.9); the strides are then 1, 2, 4 and 8.
        norm: `batch` (over all devices) or `group`.
        stride_in: Convolution of a bottleneck that has the stride: `3x3`, or the first `1x1`, as in
            the paper.
        dtype: Dtype of the computations.
    """

    stages: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    width: int = 64
    small_stem: bool = False
    norm: str = "batch"
    stride_in: str = "3x3"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("norm", self.norm, "batch", "group")
        check_choice("stride_in", self.stride_in, "3x3", "1x1")
        if self.stride_in == "1x1" and not self.bottleneck:
            raise ValueError("stride_in: found 1x1 in a network without bottlenecks; expected 3x3")

    @property
    def features(self) -> int:
        """The length D of the representation."""
        return self.width * 2 ** (len(self.stages) - 1) * (4 if self.bottleneck else 1)

    def __call__(self, image: Array, train: bool = False, keys: Array | None = None) -> Array:
        """Compute the representation, the spatial average of the last feature map.

        Args:
            image: Standardised images, (B, H, W, C).
            train: Whether to use the batch's statistics in batch norm.
            keys: Not used.

        Returns:
            Representations, (B, D) float32.
        """
        return jnp.mean(self.levels(image, train)[-1], axis=(1, 2), dtype=jnp.float32)

    @nn.compact
    def levels(
        self, image: Array, train: bool = False, keys: Array | None = None
    ) -> tuple[Array, ...]:
        """Compute the feature map of each stage.

        Args:
            image: Standardised images, (B, H, W, C).
            train: Whether to use the batch's statistics in batch norm.
            keys: Not used.

        Returns:
            One map (B, ⌈H/stride⌉, ⌈W/stride⌉, channels) for each stage.
        """
        norm = functools.partial(make_norm, self.norm, train=train, dtype=self.dtype)
        kernel, stride = (3, 1) if self.small_stem else (7, 2)
        x = _conv(self.width, kernel, stride, self.dtype, "conv1")(image)
        x = nn.relu(norm(channels=self.width, name="bn1")(x))
        if not self.small_stem:
            x = max_pool(x)
        bottleneck = functools.partial(Bottleneck, stride_in=self.stride_in)
        block = bottleneck if self.bottleneck else BasicBlock
        maps = []
        for stage, num_blocks in enumerate(self.stages):
            for i in range(num_blocks):
                x = block(
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and i == 0 else 1,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{i}",
                )(x, train)
            maps.append(x)
        return tuple(maps)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; initially the identity, since the last γ is 0."""

    width: int
    stride: int
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Map (B, H, W, c) to (B, ⌈H/stride⌉, ⌈W/stride⌉, width)."""
        norm = functools.partial(make_norm, self.norm, self.width, train=train, dtype=self.dtype)
        y = _conv(self.width, 3, self.stride, self.dtype, "conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = _conv(self.width, 3, 1, self.dtype, "conv2")(y)
        y = norm(name="bn2", scale_init=nn.initializers.zeros)(y)
        return nn.relu(y + _shortcut(x, self.width, self.stride, norm, self.dtype))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and a shortcut; initially the identity (the last γ is 0)."""

    width: int
    stride: int
    norm: str
    dtype: DTypeLike
    stride_in: str = "3x3"

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Map (B, H, W, c) to (B, ⌈H/stride⌉, ⌈W/stride⌉, 4 width)."""
        norm = functools.partial(make_norm, self.norm, train=train, dtype=self.dtype)
        first, second = (1, self.stride) if self.stride_in == "3x3" else (self.stride, 1)
        y = _conv(self.width, 1, first, self.dtype, "conv1")(x)
        y = nn.relu(norm(channels=self.width, name="bn1")(y))
        y = _conv(self.width, 3, second, self.dtype, "conv2")(y)
        y = nn.relu(norm(channels=self.width, name="bn2")(y))
        y = _conv(4 * self.width, 1, 1, self.dtype, "conv3")(y)
        norm = functools.partial(norm, channels=4 * self.width)
        y = norm(name="bn3", scale_init=nn.initializers.zeros)(y)
        return nn.relu(y + _shortcut(x, 4 * self.width, self.stride, norm, self.dtype))


def _shortcut(
    x: Array, channels: int, stride: int, norm: functools.partial, dtype: DTypeLike
) -> Array:
    """Return `x` (B, H, W, c), projected if the block changes its shape."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    return norm(name="downsample_1")(_conv(channels, 1, stride, dtype, "downsample_0")(x))


def _conv(channels: int, kernel: int, stride: int, dtype: DTypeLike, name: str) -> Convolution:
    return Convolution(channels, kernel, stride, kernel_init=_he_normal, dtype=dtype, name=name)


resnet50 = functools.partial(ResNet, stages=(3, 4, 6, 3), bottleneck=True)
resnet18 = functools.partial(ResNet, stages=(2, 2, 2, 2), bottleneck=False)
