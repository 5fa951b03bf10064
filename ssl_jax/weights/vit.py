"""Vision transformers and masked autoencoders in the layout of timm and facebookresearch/mae.

Linear layers go from (out, in) to (in, out). Theirs embeds patches by a convolution (D, C, p, p),
ours by a matrix (p² C, D) on patches in the order (p, q, c). The prediction of the decoder has that
order in both.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from data_pipelines.errors import UserError
from ssl_jax.models import ViT
from ssl_jax.models.patches import sincos_table

__all__ = [
    "CLASSIFIER",
    "STEM",
    "find_unused_tensors",
    "fixed_table",
    "from_torch",
    "is_fixed",
    "to_torch",
]

STEM = "patch_embed.proj.weight"
CLASSIFIER = ("head.weight", "head.bias")
_FIXED = "the fixed sin-cos table, which the network computes"
_BLOCK = r"(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])"
_PLACES = (
    (r"cls_token", r"backbone/cls_token"),
    (r"pos_embed", r"backbone/pos_embed"),
    (r"patch_embed\.proj", r"backbone/patch_embed"),
    (rf"blocks\.(\d+)\.{_BLOCK}", r"backbone/blocks_\1/\2"),
    (r"(fc_)?norm", r"backbone/norm"),
    (r"head", r"head/fc"),
    (r"mask_token", r"decoder/mask_token"),
    (r"decoder_(embed|norm|pred)", r"decoder/\1"),
    (rf"decoder_blocks\.(\d+)\.{_BLOCK}", r"decoder/blocks_\1/\2"),
)


def find_unused_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The tensors that `from_torch` makes nothing of, each with the reason."""
    tables = ("pos_embed", "decoder_pos_embed")
    return {name: _FIXED for name in tables if name in tensors and is_fixed(tensors[name])}


def from_torch(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of `backbone` and, where the file has them, of a linear `head` and a `decoder`.

    A position table that is the fixed sin-cos one is left out: ours isn't a parameter. Any other
    becomes `pos_embed`, for a backbone with `position="learned"`.

    Raises:
        UserError: a tensor has no place in these networks.
    """
    flat: dict[str, np.ndarray] = {}
    for name in sorted(tensors.keys() - find_unused_tensors(tensors)):
        place = _place(name, tensors[name].ndim)
        if place in flat:
            raise UserError(f"tensor {name}: a second tensor for {place}; expected one")
        flat[place] = _transposed(tensors[name])
    return {"params": unflatten_dict(flat, sep="/"), "batch_stats": {}}


def to_torch(variables: Mapping[str, Any], backbone: ViT) -> dict[str, np.ndarray]:
    """The tensors of `backbone`, of a linear `head` and of a `decoder`, what `from_torch` reads.

    Fixed position tables are written out. The final norm is `fc_norm` where `backbone` pools the
    mean, as timm has it.

    Raises:
        ValueError: there are other modules, which the layout has no names for.
    """
    tensors = {}
    for path, leaf in flatten_dict(variables["params"], sep="/").items():
        name = _name(path)
        if backbone.pool == "mean":
            name = re.sub(r"^norm\.", "fc_norm.", name)
        leaf = np.asarray(leaf)
        if path == "backbone/patch_embed/kernel":
            side = backbone.patch_size
            leaf = leaf.reshape(side, side, -1, leaf.shape[-1]).transpose(3, 2, 0, 1)
        tensors[name] = np.ascontiguousarray(leaf.T if leaf.ndim == 2 else leaf)
    if backbone.position == "sincos":
        tensors["pos_embed"] = fixed_table(backbone.dim, backbone.grid[0])
    if "mask_token" in tensors:
        dim = tensors["mask_token"].shape[-1]
        tensors["decoder_pos_embed"] = fixed_table(dim, backbone.grid[0])
    return tensors


def fixed_table(dim: int, side: int) -> np.ndarray:
    """Sin-cos positions (1, 1 + side², dim) of a square grid, behind a row of zeros."""
    return np.pad(sincos_table(dim, side, side), ((1, 0), (0, 0)))[None]


def is_fixed(table: np.ndarray) -> bool:
    """Whether positions (1, 1 + N, D) are the fixed ones, whatever they were computed in."""
    _, tokens, dim = table.shape
    side = math.isqrt(tokens - 1)
    if side**2 + 1 != tokens or dim % 4:
        return False
    return bool(np.abs(table - fixed_table(dim, side)).max() <= 1e-4)


def _place(name: str, dimensions: int) -> str:
    """`blocks.0.norm1.weight` -> `backbone/blocks_0/norm1/scale`."""
    module = re.sub(r"\.(weight|bias)$", "", name)
    leaf = name.removeprefix(module).replace(".", "/")
    if leaf == "/weight":
        leaf = "/scale" if dimensions == 1 else "/kernel"
    for pattern, place in _PLACES:
        if match := re.fullmatch(pattern, module):
            return match.expand(place).replace(".", "/") + leaf
    if name == "decoder_pos_embed":
        raise UserError(
            f"tensor {name}: is not the fixed sin-cos table of a square grid; expected that, since "
            "the decoder's positions aren't learned"
        )
    raise UserError(f"tensor {name}: has no place in a ViT or MAE of timm's layout")


def _transposed(tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim == 4:
        return np.ascontiguousarray(tensor.transpose(2, 3, 1, 0).reshape(-1, len(tensor)))
    return np.ascontiguousarray(tensor.T if tensor.ndim == 2 else tensor)


def _name(path: str) -> str:
    """`backbone/blocks_0/norm1/scale` -> `blocks.0.norm1.weight`."""
    part, *modules = path.split("/")
    name = ".".join(modules)
    if modules[-1] in ("kernel", "scale"):
        name = name.removesuffix(modules[-1]) + "weight"
    name = re.sub(r"^blocks_(\d+)", r"blocks.\1", name)
    if part == "backbone":
        return re.sub(r"^patch_embed\.", "patch_embed.proj.", name)
    if part == "decoder":
        return name if name == "mask_token" else f"decoder_{name}"
    if (part, *modules[:-1]) == ("head", "fc"):
        return f"head.{name.removeprefix('fc.')}"
    raise ValueError(f"{path}: has no name in timm's layout")
