"""A learned table of positions for another grid of patches."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.models.patches import resample_positions

__all__ = ["grid_side", "patches_per_side", "resize_positions"]


def grid_side(table: np.ndarray) -> int:
    """Rows, and columns, of the grid that positions (1, 1 + N, D) are for.

    Raises:
        UserError: N is no square.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if side**2 + 1 != table.shape[1]:
        raise UserError(
            f"tensor pos_embed: is for {table.shape[1] - 1} patches behind a class token; expected "
            "a square number of them, of one class token and a square image"
        )
    return side


def resize_positions(tensors: Mapping[str, np.ndarray], side: int) -> dict[str, np.ndarray]:
    """Tensors in timm's layout with `pos_embed` stretched over side × side patches.

    As timm's `resample_abs_pos_embed` does it; the class token's own position stays.
    """
    table = tensors["pos_embed"]
    native = grid_side(table)
    if native == side:
        return dict(tensors)
    patches = resample_positions(jnp.asarray(table[0, 1:]), (native, native), (side, side))
    return {**tensors, "pos_embed": np.concatenate([table[0, :1], np.asarray(patches)])[None]}


def patches_per_side(image_size: int, patch_size: int) -> int:
    """Patches along the side of an image.

    Raises:
        UserError: it is no multiple of theirs.
    """
    if image_size % patch_size:
        raise UserError(
            f"--image_size: found {image_size}; expected a multiple of the patch size {patch_size}"
        )
    return image_size // patch_size
