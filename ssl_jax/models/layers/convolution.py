"""Convolution, computed as matrix products on CPUs where XLA's convolution is slow there.

XLA calls Eigen for convolutions on CPUs. Measured with jaxlib 0.10.2 on two cores, in GFLOP/s of
float32: 1×1 kernels reach 30 to 200 and their gradients with respect to the kernel 10 to 100, where
the matrix product that they are reaches 100 to 290; outputs of 2 × 2 pixels or fewer reach 2 to 3,
and the gradient of a strided convolution with respect to its input as little as 3. On other
platforms, in programs exported for them, and in what `--describe` counts, a convolution stays one.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax
from jax.typing import DTypeLike

from ssl_jax.models.layers.platforms import choose_by_platform, vary_alike
from ssl_jax.models.layers.shifts import put_pixels, take_pixels

__all__ = ["Convolution", "convolve"]

# Convolutions with fewer output pixels per image than these are computed as products.
_MIN_PIXELS = 20


class Convolution(nn.Module):
    """A convolution with a square kernel and the same padding on all sides, as in PyTorch.

    Parameters are those of `flax.linen.Conv`: `kernel` (k, k, C, channels) and `bias` (channels,).

    Attributes:
        channels: Number of output channels.
        kernel: Side of the kernel, k, in pixels.
        stride: Stride in pixels.
        use_bias: Whether to add a bias.
        kernel_init: Initialises the kernel.
        dtype: Dtype of the computations.
    """

    channels: int
    kernel: int
    stride: int = 1
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (B, H, W, C) to (B, ⌈H/stride⌉, ⌈W/stride⌉, channels), for an odd k."""
        shape = (self.kernel, self.kernel, x.shape[-1], self.channels)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve(x, kernel, self.stride, self.kernel // 2)
        return y if bias is None else y + bias


def convolve(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """Convolve images with a kernel.

    The gradients need only the arguments: no patches are kept for the backward pass.

    Args:
        x: Images, (B, H, W, C).
        kernel: The kernel, (k, k, C, O).
        stride: Stride in pixels.
        padding: Zeros on each side, in pixels.

    Returns:
        The result, (B, h, w, O) with h = ⌊(H + 2 padding - k) / stride⌋ + 1.
    """
    return _convolve(*vary_alike(x, kernel), stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    return _forward(x, kernel, stride, padding)[0]


def _forward(
    x: Array, kernel: Array, stride: int, padding: int
) -> tuple[Array, tuple[Array, Array]]:
    geometry = _Geometry(x.shape, len(kernel), stride, padding)
    products = geometry.multiply_patches if geometry.is_slow else None
    return choose_by_platform(products, geometry.convolve, x, kernel), (x, kernel)


def _backward(
    stride: int, padding: int, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    """Compute the gradients of the input and the kernel from the gradient of the output."""
    x, kernel = saved
    geometry = _Geometry(x.shape, len(kernel), stride, padding)

    def differentiate_input(kernel: Array, gradient: Array) -> Array:
        return jax.linear_transpose(lambda x: geometry.convolve(x, kernel), x)(gradient)[0]

    def differentiate_kernel(x: Array, gradient: Array) -> Array:
        transpose = jax.linear_transpose(lambda kernel: geometry.convolve(x, kernel), kernel)
        return transpose(gradient)[0]

    scatter = geometry.scatter_products if geometry.is_slow or stride > 1 else None
    correlate = geometry.correlate if geometry.is_slow else None
    return (
        choose_by_platform(scatter, differentiate_input, kernel, gradient),
        choose_by_platform(correlate, differentiate_kernel, x, gradient),
    )


_convolve.defvjp(_forward, _backward)


@dataclass(frozen=True)
class _Geometry:
    """The geometry of a convolution, and its computation.

    Attributes:
        shape: Shape of the images, (B, H, W, C).
        side: Side of the kernel, k.
        stride: Stride in pixels.
        padding: Zeros on each side, in pixels.
    """

    shape: tuple[int, ...]
    side: int
    stride: int
    padding: int

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of the padded images."""
        return self.shape[1] + 2 * self.padding, self.shape[2] + 2 * self.padding

    @property
    def output(self) -> tuple[int, int]:
        """Rows and columns of the result, (h, w)."""
        rows, columns = ((size - self.side) // self.stride + 1 for size in self.padded)
        return rows, columns

    @property
    def is_slow(self) -> bool:
        """Whether XLA computes the convolution slowly on a CPU."""
        return self.side == 1 or math.prod(self.output) < _MIN_PIXELS

    @property
    def offsets(self) -> Iterator[tuple[int, int]]:
        """Rows and columns of the elements of the kernel."""
        return itertools.product(range(self.side), range(self.side))

    def convolve(self, x: Array, kernel: Array) -> Array:
        """Convolve as XLA does."""
        return lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            [(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def take_inputs(self, x: Array) -> list[Array]:
        """Take the pixels (B, h, w, C) under each element of the kernel."""
        x = jnp.pad(x, ((0, 0), *[(self.padding, self.padding)] * 2, (0, 0)))
        return [take_pixels(x, offset, self.stride, self.output) for offset in self.offsets]

    def multiply_patches(self, x: Array, kernel: Array) -> Array:
        """Convolve by a product of patches (B, h, w, k² C) and the kernel (k² C, O)."""
        patches = jnp.concatenate(self.take_inputs(x), axis=-1)
        return jnp.dot(patches, kernel.reshape(-1, kernel.shape[-1]))

    def scatter_products(self, kernel: Array, gradient: Array) -> Array:
        """Compute the gradient of the input: products with the kernel, put where they belong."""
        products = jnp.dot(gradient, kernel.reshape(-1, kernel.shape[-1]).T)
        parts = jnp.split(products, self.side**2, axis=-1)
        total = functools.reduce(
            jnp.add,
            (
                put_pixels(part, offset, self.stride, self.padded)
                for part, offset in zip(parts, self.offsets, strict=True)
            ),
        )
        rows, columns = self.shape[1:3]
        return total[:, self.padding :, self.padding :][:, :rows, :columns]

    def correlate(self, x: Array, gradient: Array) -> Array:
        """Compute the gradient of the kernel: products of inputs and the gradient."""
        # Matrices: XLA would transpose arrays of more dimensions in memory.
        products = [
            jnp.dot(_flatten(pixels).T, _flatten(gradient)) for pixels in self.take_inputs(x)
        ]
        return jnp.stack(products).reshape(self.side, self.side, *products[0].shape)


def _flatten(pixels: Array) -> Array:
    """Reshape (B, h, w, C) to (B h w, C)."""
    return pixels.reshape(-1, pixels.shape[-1])
