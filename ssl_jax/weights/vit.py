"""Vision transformers and masked autoencoders in the layout of timm and facebookresearch/mae.

The weights of linear layers are transposed between (out, in) in PyTorch and (in, out) in Flax. timm
embeds patches by a convolution (D, C, p, p), ours is a matrix (p² C, D) for patches flattened in
the order (p, q, c). The decoder's prediction is in that order in both.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from data_pipelines.errors import UserError
from ssl_jax.models import ViT
from ssl_jax.models.layers.patches import sincos_table

__all__ = [
    "CLASSIFIER",
    "STEM",
    "find_unused_tensors",
    "from_torch",
    "is_sincos_pos_embed",
    "sincos_pos_embed",
    "to_torch",
]

STEM = "patch_embed.proj.weight"
CLASSIFIER = ("head.weight", "head.bias")
_BLOCK = r"(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])"
# Patterns of timm's modules and parameters, each with the path in the variables.
_PATHS = (
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
    """Return the names of the tensors that `from_torch` ignores, each with the reason."""
    reason = "the fixed sin-cos position embedding, which the network computes"
    names = ("pos_embed", "decoder_pos_embed")
    return {
        name: reason for name in names if name in tensors and is_sincos_pos_embed(tensors[name])
    }


def from_torch(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Convert a state dict to variables.

    Fixed sin-cos position embeddings are ignored, as they are no parameters here. Any others become
    the parameter `pos_embed` of a backbone with `position="learned"`.

    Args:
        tensors: State dict of a ViT or MAE.

    Returns:
        Variables of `backbone` and, if the state dict has them, of a linear `head` and a `decoder`.

    Raises:
        UserError: If a tensor is not of a ViT or MAE, or two are for the same parameter.
    """
    params: dict[str, np.ndarray] = {}
    for name in sorted(tensors.keys() - find_unused_tensors(tensors)):
        path = _to_parameter_path(name, tensors[name].ndim)
        if path in params:
            raise UserError(f"tensor {name}: found a second tensor for {path}; expected only one")
        params[path] = _transpose(tensors[name])
    return {"params": unflatten_dict(params, sep="/"), "batch_stats": {}}


def to_torch(variables: Mapping[str, Any], backbone: ViT) -> dict[str, np.ndarray]:
    """Convert variables to a state dict; the inverse of `from_torch`.

    The state dict contains fixed position embeddings too. As in timm, the final norm is named
    `fc_norm` if the backbone pools the mean of the patches.

    Args:
        variables: Variables of `backbone`, and optionally of a linear `head` and of a `decoder`.
        backbone: The ViT that they are for.

    Returns:
        State dict of a ViT, or of an MAE if there is a decoder.

    Raises:
        ValueError: If there are other modules, for which the layout has no names.
    """
    tensors = {}
    for path, leaf in flatten_dict(variables["params"], sep="/").items():
        name = _to_tensor_name(path)
        if backbone.pool == "mean":
            name = re.sub(r"^norm\.", "fc_norm.", name)
        leaf = np.asarray(leaf)
        if path == "backbone/patch_embed/kernel":
            side = backbone.patch_size
            leaf = leaf.reshape(side, side, -1, leaf.shape[-1]).transpose(3, 2, 0, 1)
        tensors[name] = np.ascontiguousarray(leaf.T if leaf.ndim == 2 else leaf)
    if backbone.position == "sincos":
        tensors["pos_embed"] = sincos_pos_embed(backbone.dim, backbone.grid[0])
    if "mask_token" in tensors:
        dim = tensors["mask_token"].shape[-1]
        tensors["decoder_pos_embed"] = sincos_pos_embed(dim, backbone.grid[0])
    return tensors


def sincos_pos_embed(dim: int, side: int) -> np.ndarray:
    """Compute the fixed sin-cos position embeddings of a square grid of patches.

    Args:
        dim: Number of channels, D.
        side: Number of patches along each side of the grid.

    Returns:
        Position embeddings, (1, 1 + side², D) float32; those of the class token are zero.
    """
    return np.pad(sincos_table(dim, side, side), ((1, 0), (0, 0)))[None]


def is_sincos_pos_embed(pos_embed: np.ndarray) -> bool:
    """Return whether position embeddings (1, 1 + N, D) are the fixed sin-cos ones.

    Values may differ by 1e-4, since they may have been computed in another precision.
    """
    _, num_tokens, dim = pos_embed.shape
    side = math.isqrt(num_tokens - 1)
    if side**2 + 1 != num_tokens or dim % 4:
        return False
    return bool(np.abs(pos_embed - sincos_pos_embed(dim, side)).max() <= 1e-4)


def _to_parameter_path(name: str, ndim: int) -> str:
    """Convert the name of a tensor: `blocks.0.norm1.weight` -> `backbone/blocks_0/norm1/scale`."""
    module = re.sub(r"\.(weight|bias)$", "", name)
    leaf = name.removeprefix(module).replace(".", "/")
    if leaf == "/weight":
        leaf = "/scale" if ndim == 1 else "/kernel"
    for pattern, path in _PATHS:
        if match := re.fullmatch(pattern, module):
            return match.expand(path).replace(".", "/") + leaf
    if name == "decoder_pos_embed":
        raise UserError(
            f"tensor {name}: found learned position embeddings; expected the fixed sin-cos ones of "
            "a square grid, the only ones that the decoder supports"
        )
    raise UserError(
        f"tensor {name}: unknown in a ViT or MAE of timm's layout; expected names such as "
        "blocks.0.attn.qkv.weight"
    )


def _transpose(tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim == 4:
        return np.ascontiguousarray(tensor.transpose(2, 3, 1, 0).reshape(-1, len(tensor)))
    return np.ascontiguousarray(tensor.T if tensor.ndim == 2 else tensor)


def _to_tensor_name(path: str) -> str:
    """Convert the path of a parameter; the inverse of `_to_parameter_path`."""
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
