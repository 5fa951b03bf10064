"""The network that tensors are of: as our configs say it, and as PyTorch's users make it."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.models import ResNet, ViT
from ssl_jax.weights import vit
from ssl_jax.weights.positions import grid_side

__all__ = ["decoder_section", "timm_call", "transformers_config", "vit_section"]

_VITS = {(768, 12, 12): "vit_b", (384, 12, 6): "vit_s", (192, 12, 3): "vit_ti"}
_RESNETS: dict[tuple[tuple[int, ...], bool, int], str] = {
    ((3, 4, 6, 3), True, 64): "resnet50",
    ((2, 2, 2, 2), False, 64): "resnet18",
}


def vit_section(tensors: Mapping[str, np.ndarray], heads: int = 0) -> dict[str, Any]:
    """`config.model.backbone` of a ViT in timm's layout.

    Args:
        tensors: of which the shapes tell everything but the heads.
        heads: of the attention; 0 for one in 64 channels, as all usual ViTs have it.

    Raises:
        UserError: there is no position table of a square grid, or no whole number of heads.
    """
    if "pos_embed" not in tensors:
        raise UserError("tensor pos_embed: is missing; expected the positions of a ViT's patches")
    dim, _, patch_size, _ = tensors[vit.STEM].shape
    depth = _depth(tensors, "blocks")
    heads = heads or _heads("heads", dim, 64)
    side = grid_side(tensors["pos_embed"])
    name = _VITS.get((dim, depth, heads))
    section: dict[str, Any] = {"name": name or "vit_b"}
    if not name:
        section |= {"dim": dim, "depth": depth, "heads": heads}
    return section | {
        "patch_size": patch_size,
        "image_size": side * patch_size,
        "pool": "mean" if "fc_norm.weight" in tensors else "cls",
        "position": "sincos" if vit.is_fixed(tensors["pos_embed"]) else "learned",
    }


def decoder_section(tensors: Mapping[str, np.ndarray], heads: int = 0) -> dict[str, Any]:
    """`config.model.decoder` of an MAE in timm's layout.

    Args:
        tensors: of which the shapes tell everything but the heads.
        heads: of the decoder; 0 for one in 32 channels, MAE's 16 in 512.

    Raises:
        UserError: there is no whole number of heads.
    """
    dim = tensors["mask_token"].shape[-1]
    return {
        "dim": dim,
        "depth": _depth(tensors, "decoder_blocks"),
        "heads": heads or _heads("decoder_heads", dim, 32),
    }


def timm_call(backbone: ResNet | ViT, bands: int, classes: Sequence[str], image_size: int) -> str:
    """The Python expression that makes the same network with timm.

    Raises:
        UserError: timm has no such network.
    """
    outputs = f"in_chans={bands}, num_classes={len(classes)}"
    if isinstance(backbone, ViT):
        pool = "avg" if backbone.pool == "mean" else "token"
        return (
            "timm.models.vision_transformer.VisionTransformer("
            f"img_size={image_size}, patch_size={backbone.patch_size}, {outputs}, "
            f"embed_dim={backbone.dim}, depth={backbone.depth}, num_heads={backbone.heads}, "
            f'global_pool="{pool}")'
        )
    _expect_torchvision(backbone)
    name = _RESNETS.get((tuple(backbone.stages), backbone.bottleneck, backbone.width))
    if not name:
        raise UserError(
            f"--layout timm: has no ResNet of stages {tuple(backbone.stages)} and width "
            f"{backbone.width}; expected {' or '.join(_RESNETS.values())}, or --layout transformers"
        )
    return f'timm.create_model("{name}", {outputs})'


def transformers_config(
    backbone: ResNet | ViT, bands: int, classes: Sequence[str], image_size: int
) -> dict[str, Any]:
    """`config.json` of the same network for transformers.

    Raises:
        UserError: transformers has no such network.
    """
    task = "ForImageClassification" if classes else "Model"
    shared: dict[str, Any] = {"num_channels": bands}
    if classes:
        shared["id2label"] = {str(i): name for i, name in enumerate(classes)}
        shared["label2id"] = {name: i for i, name in enumerate(classes)}
    if isinstance(backbone, ViT):
        if backbone.pool != "cls":
            raise UserError(
                "--layout transformers: its ViT can't pool the mean of the patches before the last "
                "norm, as this network does; expected --layout timm"
            )
        return shared | {
            "architectures": [f"ViT{task}"],
            "model_type": "vit",
            "hidden_size": backbone.dim,
            "num_hidden_layers": backbone.depth,
            "num_attention_heads": backbone.heads,
            "intermediate_size": 4 * backbone.dim,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "qkv_bias": True,
            "image_size": image_size,
            "patch_size": backbone.patch_size,
        }
    _expect_torchvision(backbone)
    expansion = 4 if backbone.bottleneck else 1
    return shared | {
        "architectures": [f"ResNet{task}"],
        "model_type": "resnet",
        "embedding_size": backbone.width,
        "hidden_sizes": [
            expansion * backbone.width * 2**stage for stage in range(len(backbone.stages))
        ],
        "depths": list(backbone.stages),
        "layer_type": "bottleneck" if backbone.bottleneck else "basic",
        "hidden_act": "relu",
    }


def _expect_torchvision(backbone: ResNet) -> None:
    if backbone.norm != "batch" or backbone.small_stem:
        raise UserError(
            f"config.model.backbone: found norm {backbone.norm!r} and small_stem "
            f"{backbone.small_stem}; PyTorch's ResNets have batch norm and the 7×7 stem"
        )


def _depth(tensors: Mapping[str, np.ndarray], blocks: str) -> int:
    numbers = [int(m[1]) for name in tensors if (m := re.match(rf"{blocks}\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def _heads(option: str, dim: int, channels: int) -> int:
    if math.gcd(dim, channels) != channels:
        raise UserError(
            f"--{option}: not given, and {dim} channels are no multiple of the usual {channels} a "
            "head; expected the number of heads"
        )
    return dim // channels
