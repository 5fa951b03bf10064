"""Conversion of images to sequences of patches and back, and position embeddings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import Array


def patch_grid(image: Array, patch_size: int) -> tuple[int, int]:
    """Return the number of rows and columns of patches in an image.

    Args:
        image: Images, (B, H, W, C).
        patch_size: Side of a patch, p, in pixels.

    Returns:
        (H / p, W / p).

    Raises:
        ValueError: If height or width is not a multiple of the patch size.
    """
    height, width = image.shape[1:3]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"image: found {height} × {width} pixels; expected multiples of patch_size "
            f"{patch_size}: crop or resize it, or choose another patch_size"
        )
    return height // patch_size, width // patch_size


def patchify(image: Array, patch_size: int) -> Array:
    """Split images into patches.

    Args:
        image: Images, (B, H, W, C).
        patch_size: Side of a patch, p, in pixels.

    Returns:
        Patches, (B, N, p² C), row by row; the pixels of a patch are row by row with bands last.

    Raises:
        ValueError: If height or width is not a multiple of the patch size.
    """
    patch_grid(image, patch_size)
    return rearrange(image, "b (h p) (w q) c -> b (h w) (p q c)", p=patch_size, q=patch_size)


def unpatchify(patches: Array, patch_size: int, grid: tuple[int, int]) -> Array:
    """Merge patches into images; the inverse of `patchify`.

    Args:
        patches: Patches, (B, N, p² C).
        patch_size: Side of a patch, p, in pixels.
        grid: Number of rows and columns of patches.

    Returns:
        Images, (B, H, W, C).
    """
    rows, p = grid[0], patch_size
    return rearrange(patches, "b (h w) (p q c) -> b (h p) (w q) c", h=rows, p=p, q=p)


def sincos_table(dim: int, rows: int, columns: int) -> np.ndarray:
    """Return a fixed table of sin-cos position embeddings (He et al. 2022; facebookresearch/mae).

    The first half of the channels encodes the column, the second half the row. Each half consists
    of sines followed by cosines, with wavelengths from 2π to 2π · 10,000 patches.

    Args:
        dim: Number of channels, a multiple of 4.
        rows: Number of rows of patches.
        columns: Number of columns of patches.

    Returns:
        The table, (rows · columns, dim) float32.
    """
    frequencies = 10_000.0 ** -(np.arange(dim // 4) / (dim // 4))

    def encode(position: np.ndarray) -> np.ndarray:
        angles = np.outer(position, frequencies)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.concatenate([encode(column), encode(row)], axis=1).astype(np.float32)


def resample_positions(table: Array, native: tuple[int, int], grid: tuple[int, int]) -> Array:
    """Resample a table of position embeddings to another grid of patches.

    Resampling is bicubic (Keys, a = -0.5) with antialiasing, as in timm's `resample_abs_pos_embed`.
    The table is stretched over the image rather than extrapolated, so that an encoder is given only
    positions in the range it was trained on.

    Args:
        table: Position embeddings, (N, D).
        native: Rows and columns of the table's grid.
        grid: Rows and columns of the other grid.

    Returns:
        Position embeddings of the other grid, (rows · columns, D).
    """
    if native == grid:
        return jnp.asarray(table)
    image = table.reshape(*native, -1)
    return jax.image.resize(image, (*grid, image.shape[-1]), "cubic").reshape(-1, image.shape[-1])


def gather_tokens(tokens: Array, indices: Array) -> Array:
    """Select tokens of each example.

    Args:
        tokens: Tokens, (B, N, D).
        indices: Distinct indices in 0..N-1, (B, K) integer.

    Returns:
        The selected tokens, (B, K, D).
    """

    def gather(tokens: Array, indices: Array) -> Array:
        # With unique indices, the scatter in the gradient needs no atomics, which makes it fast and
        # deterministic.
        return tokens.at[indices].get(mode="promise_in_bounds", unique_indices=True)

    return jax.vmap(gather)(tokens, indices)
