"""One image under an affine map: where rotation, shear and translation take their pixels from.

The map goes from the result to the image, in pixels with their centres at a half, and sampling is
bicubic: all of it as Pillow's `Image.transform(size, AFFINE, …, BICUBIC, fillcolor=…)`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def apply_affine(image: Array, matrix: Array, fill: Array) -> Array:
    """`image` (H, W, C) seen through `matrix` (2, 3), `fill` (C,) where that looks beyond it.

    Pixel (x, y) of the result shows the image at `matrix @ (x, y, 1)`. Whether that is still inside
    is a matter of rounding where it falls on the very edge.
    """
    height, width = image.shape[:2]
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    source_x, source_y = (row[0] * x + row[1] * y + row[2] for row in matrix)
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    return jnp.where(inside[..., None], _bicubic(image, source_y - 0.5, source_x - 0.5), fill)


def rotation_matrix(angle: Array, height: int, width: int) -> Array:
    """The matrix (2, 3) that turns an image to the left by `angle` degrees about its centre."""
    cosine, sine = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
    turn = jnp.array([[cosine, -sine], [sine, cosine]])
    centre = jnp.array([width / 2, height / 2])
    shift = centre - (turn * centre).sum(axis=1)  # no matrix product: it may be TF32 on a GPU
    return jnp.concatenate([turn, shift[:, None]], axis=1)


def _bicubic(image: Array, y: Array, x: Array) -> Array:
    """The image at (y, x) (H, W), counted from its first pixel's centre; the border repeats."""
    height, width = image.shape[:2]
    top, left = jnp.floor(y), jnp.floor(x)
    rows, columns = top.astype(jnp.int32), left.astype(jnp.int32)
    across, down = _weights(x - left), _weights(y - top)
    total = jnp.zeros((*y.shape, image.shape[-1]), image.dtype)
    for i in range(4):
        row = jnp.clip(rows + i - 1, 0, height - 1)
        for j in range(4):
            column = jnp.clip(columns + j - 1, 0, width - 1)
            total += (down[i] * across[j])[..., None] * image[row, column]
    return total


def _weights(fraction: Array) -> tuple[Array, Array, Array, Array]:
    """Of the pixels -1, 0, 1, 2 for a place between 0 and 1: Keys' cubic with a = -1.

    That is Pillow's in transforms; its resizing has a = -0.5.
    """
    d, e = fraction, 1 - fraction
    return -d * e * e, (1 + d - d * d) * e, (1 + e - e * e) * d, -e * d * d
