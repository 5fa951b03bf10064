"""Affine transforms of one image: rotation, shear and translation.

A transform maps pixel coordinates of the output to those of the input, where pixel centres lie at
half-integers. Sampling is bicubic, as in Pillow's
`Image.transform(size, AFFINE, …, BICUBIC, fillcolor=…)`.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def apply_affine(image: Array, matrix: Array, fill: Array) -> Array:
    """Apply an affine transform to an image.

    Pixel (x, y) of the output shows the input at `matrix @ (x, y, 1)`. For a point exactly on the
    border, rounding decides whether it lies inside the input.

    Args:
        image: Input, (C, H, W) float.
        matrix: Map from output to input coordinates, (2, 3), in pixels.
        fill: Values of output pixels that lie outside the input, (C,).

    Returns:
        The output, (C, H, W).
    """
    height, width = image.shape[1:]
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
    source_x, source_y = (row[0] * x + row[1] * y + row[2] for row in matrix)
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    sampled = _sample_bicubic(image, source_y - 0.5, source_x - 0.5)
    return jnp.where(inside, sampled, fill[:, None, None])


def rotation_matrix(angle: Array, height: int, width: int) -> Array:
    """Return the matrix (2, 3) that rotates an image counter-clockwise about its centre.

    Args:
        angle: Angle in degrees, a scalar.
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
    """
    cosine, sine = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
    rotation = jnp.array([[cosine, -sine], [sine, cosine]])
    centre = jnp.array([width / 2, height / 2])
    # Not a matrix product, which may be computed in TF32 on a GPU.
    shift = centre - (rotation * centre).sum(axis=1)
    return jnp.concatenate([rotation, shift[:, None]], axis=1)


def _sample_bicubic(image: Array, y: Array, x: Array) -> Array:
    """Sample an image (C, H, W) at points (H, W), repeating its border pixels.

    Coordinates are relative to the centre of the first pixel.
    """
    height, width = image.shape[1:]
    top, left = jnp.floor(y), jnp.floor(x)
    rows, columns = top.astype(jnp.int32), left.astype(jnp.int32)
    column_weights, row_weights = _cubic_weights(x - left), _cubic_weights(y - top)
    total = jnp.zeros((image.shape[0], *y.shape), image.dtype)
    for i in range(4):
        row = jnp.clip(rows + i - 1, 0, height - 1)
        for j in range(4):
            column = jnp.clip(columns + j - 1, 0, width - 1)
            total += row_weights[i] * column_weights[j] * image[:, row, column]
    return total


def _cubic_weights(fraction: Array) -> tuple[Array, Array, Array, Array]:
    """Return the weights of pixels -1, 0, 1 and 2 for a point between pixels 0 and 1.

    This is Keys' cubic with a = -1, which Pillow uses in transforms; its resizing has a = -0.5.
    """
    d, e = fraction, 1 - fraction
    return -d * e * e, (1 + d - d * d) * e, (1 + e - e * e) * d, -e * d * d
