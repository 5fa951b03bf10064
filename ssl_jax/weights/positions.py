"""Resizing of learned position embeddings to another grid of patches."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.models.layers.patches import resample_positions

__all__ = ["grid_side", "patches_per_side", "resize_positions"]


def grid_side(pos_embed: np.ndarray) -> int:
    """Return the number of rows, and of columns, of the grid that position embeddings are for.

    Args:
        pos_embed: Position embeddings of the class token and of N patches, (1, 1 + N, D).

    Raises:
        UserError: If N is not a square number.
    """
    side = round((pos_embed.shape[1] - 1) ** 0.5)
    if side**2 + 1 != pos_embed.shape[1]:
        raise UserError(
            f"tensor pos_embed: found {pos_embed.shape[1]} positions; expected that of a class "
            "token and a square number for the patches of a square image"
        )
    return side


def resize_positions(tensors: Mapping[str, np.ndarray], side: int) -> dict[str, np.ndarray]:
    """Resize the position embeddings of a ViT, as timm's `resample_abs_pos_embed` does.

    The position embedding of the class token stays as it is.

    Args:
        tensors: State dict in timm's layout.
        side: Number of patches along each side of the new grid.

    Returns:
        The state dict with `pos_embed` (1, 1 + side², D).

    Raises:
        UserError: If the position embeddings are not those of a square grid.
    """
    pos_embed = tensors["pos_embed"]
    native = grid_side(pos_embed)
    if native == side:
        return dict(tensors)
    patches = resample_positions(jnp.asarray(pos_embed[0, 1:]), (native, native), (side, side))
    return {**tensors, "pos_embed": np.concatenate([pos_embed[0, :1], np.asarray(patches)])[None]}


def patches_per_side(image_size: int, patch_size: int) -> int:
    """Return the number of patches along the side of an image.

    Args:
        image_size: Side of the image in pixels.
        patch_size: Side of a patch in pixels.

    Raises:
        UserError: If the image size is not a multiple of the patch size.
    """
    if image_size % patch_size:
        raise UserError(
            f"--image_size: found {image_size}; expected a multiple of the patch size {patch_size}"
        )
    return image_size // patch_size
