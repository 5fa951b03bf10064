"""Images as sequences of patches, and where in the image each patch stood."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import Array


def patch_grid(image: Array, patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches in an image (B, H, W, C).

    Raises:
        ValueError: its sides aren't multiples of the patch size.
    """
    height, width = image.shape[1:3]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"image: found {height} × {width} pixels; expected multiples of patch_size "
            f"{patch_size}: crop or resize it, or choose another patch_size"
        )
    return height // patch_size, width // patch_size


def patchify(image: Array, patch_size: int) -> Array:
    """(B, H, W, C) -> (B, N, p² C): patches by rows, within each pixels by rows, bands last."""
    patch_grid(image, patch_size)
    return rearrange(image, "b (h p) (w q) c -> b (h w) (p q c)", p=patch_size, q=patch_size)


def unpatchify(patches: Array, patch_size: int, grid: tuple[int, int]) -> Array:
    """(B, N, p² C) -> (B, H, W, C), what `patchify` took apart; `grid` is its rows and columns."""
    rows, p = grid[0], patch_size
    return rearrange(patches, "b (h w) (p q c) -> b (h p) (w q) c", h=rows, p=p, q=p)


def sincos_table(dim: int, rows: int, columns: int) -> np.ndarray:
    """Fixed position table (rows · columns, dim) float32 (He et al. 2022; facebookresearch/mae).

    The first half of the channels tells the column, the second the row, each half by sines and then
    cosines of wavelengths from 2π to 2π · 10,000 patches.
    """
    frequencies = 10_000.0 ** -(np.arange(dim // 4) / (dim // 4))

    def encode(position: np.ndarray) -> np.ndarray:
        angles = np.outer(position, frequencies)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.concatenate([encode(column), encode(row)], axis=1).astype(np.float32)


def resample_positions(table: Array, native: tuple[int, int], grid: tuple[int, int]) -> Array:
    """A position table (N, D) of the grid `native` for another grid, (rows · columns, D).

    Bicubic (Keys, a = -0.5) with antialiasing, as timm's `resample_abs_pos_embed`. The table is
    stretched over the image rather than continued, so that an encoder sees the positions it knows.
    """
    if native == grid:
        return jnp.asarray(table)
    image = table.reshape(*native, -1)
    return jax.image.resize(image, (*grid, image.shape[-1]), "cubic").reshape(-1, image.shape[-1])


def gather_tokens(tokens: Array, indices: Array) -> Array:
    """(B, N, D) and distinct (B, K) in 0..N-1 -> (B, K, D): those tokens of each example."""

    def of_one(tokens: Array, indices: Array) -> Array:
        # Known to be distinct, the gradient's scatter needs no atomics: fast, and repeatable.
        return tokens.at[indices].get(mode="promise_in_bounds", unique_indices=True)

    return jax.vmap(of_one)(tokens, indices)
