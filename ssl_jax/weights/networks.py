"""Descriptions of networks: configs inferred from state dicts, and constructors for PyTorch."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.models import ResNet, ViT
from ssl_jax.weights import vit
from ssl_jax.weights.positions import grid_side

__all__ = [
    "format_timm_call",
    "infer_decoder_config",
    "infer_vit_config",
    "make_transformers_config",
]

_VITS = {(768, 12, 12): "vit_b", (384, 12, 6): "vit_s", (192, 12, 3): "vit_ti"}
_RESNETS: dict[tuple[tuple[int, ...], bool, int], str] = {
    ((3, 4, 6, 3), True, 64): "resnet50",
    ((2, 2, 2, 2), False, 64): "resnet18",
}


def infer_vit_config(tensors: Mapping[str, np.ndarray], heads: int = 0) -> dict[str, Any]:
    """Infer the config of a ViT from the shapes of its tensors.

    Args:
        tensors: State dict in timm's layout.
        heads: Number of attention heads, which the shapes don't determine; 0 for one per 64
            channels, as in all common ViTs.

    Returns:
        The fields of `config.model.backbone`.

    Raises:
        UserError: If there are no position embeddings of a square grid, or the number of channels
            is not a multiple of the default number per head.
    """
    if "pos_embed" not in tensors:
        raise UserError("tensor pos_embed: missing; expected the position embeddings of a ViT")
    dim, _, patch_size, _ = tensors[vit.STEM].shape
    depth = _count_blocks(tensors, "blocks")
    heads = heads or _infer_heads("heads", dim, 64)
    side = grid_side(tensors["pos_embed"])
    name = _VITS.get((dim, depth, heads))
    config: dict[str, Any] = {"name": name or "vit_b"}
    if not name:
        config |= {"dim": dim, "depth": depth, "heads": heads}
    return config | {
        "patch_size": patch_size,
        "image_size": side * patch_size,
        "pool": "mean" if "fc_norm.weight" in tensors else "cls",
        "position": "sincos" if vit.is_sincos_pos_embed(tensors["pos_embed"]) else "learned",
    }


def infer_decoder_config(tensors: Mapping[str, np.ndarray], heads: int = 0) -> dict[str, Any]:
    """Infer the config of an MAE's decoder from the shapes of its tensors.

    Args:
        tensors: State dict in timm's layout.
        heads: Number of the decoder's attention heads, which the shapes don't determine; 0 for one
            per 32 channels, as MAE has 16 for 512 channels.

    Returns:
        The fields of `config.model.decoder`.

    Raises:
        UserError: If the number of channels is not a multiple of the default number per head.
    """
    dim = tensors["mask_token"].shape[-1]
    return {
        "dim": dim,
        "depth": _count_blocks(tensors, "decoder_blocks"),
        "heads": heads or _infer_heads("decoder_heads", dim, 32),
    }


def format_timm_call(
    backbone: ResNet | ViT, bands: int, classes: Sequence[str], image_size: int
) -> str:
    """Format the Python expression that creates the same network with timm.

    Args:
        backbone: The network.
        bands: Number of bands of the images.
        classes: Names of the classes; empty for a network without classifier.
        image_size: Side of the images in pixels, which a ViT's position embeddings are for.

    Returns:
        The expression, which requires `import timm`.

    Raises:
        UserError: If timm has no such network.
    """
    channels = f"in_chans={bands}, num_classes={len(classes)}"
    if isinstance(backbone, ViT):
        pool = "avg" if backbone.pool == "mean" else "token"
        return (
            "timm.models.vision_transformer.VisionTransformer("
            f"img_size={image_size}, patch_size={backbone.patch_size}, {channels}, "
            f"embed_dim={backbone.dim}, depth={backbone.depth}, num_heads={backbone.heads}, "
            f'global_pool="{pool}")'
        )
    _check_torchvision_compatible(backbone)
    if backbone.stride_in != "3x3":
        raise UserError(
            f"--layout timm: found a ResNet with stride_in {backbone.stride_in}; expected 3x3, as "
            "timm's have, or --layout transformers"
        )
    name = _RESNETS.get((tuple(backbone.stages), backbone.bottleneck, backbone.width))
    if not name:
        raise UserError(
            f"--layout timm: found a ResNet with stages {tuple(backbone.stages)} and width "
            f"{backbone.width}; expected {' or '.join(_RESNETS.values())}, or --layout transformers"
        )
    return f'timm.create_model("{name}", {channels})'


def make_transformers_config(
    backbone: ResNet | ViT, bands: int, classes: Sequence[str], image_size: int
) -> dict[str, Any]:
    """Create the config of the same network for transformers.

    Args:
        backbone: The network.
        bands: Number of bands of the images.
        classes: Names of the classes; empty for a network without classifier.
        image_size: Side of the images in pixels, which a ViT's position embeddings are for.

    Returns:
        The content of transformers' `config.json`.

    Raises:
        UserError: If transformers has no such network.
    """
    task = "ForImageClassification" if classes else "Model"
    shared: dict[str, Any] = {"num_channels": bands}
    if classes:
        shared["id2label"] = {str(i): name for i, name in enumerate(classes)}
        shared["label2id"] = {name: i for i, name in enumerate(classes)}
    if isinstance(backbone, ViT):
        if backbone.pool != "cls":
            raise UserError(
                f"--layout transformers: found a ViT with pool {backbone.pool!r}, whose final norm "
                "follows the mean over patches; expected pool 'cls', or --layout timm"
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
    _check_torchvision_compatible(backbone)
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
        "downsample_in_bottleneck": backbone.stride_in == "1x1",
    }


def _check_torchvision_compatible(backbone: ResNet) -> None:
    if backbone.norm != "batch" or backbone.small_stem:
        raise UserError(
            f"config.model.backbone: found norm {backbone.norm!r} and small_stem "
            f"{backbone.small_stem}; expected batch norm and the 7×7 stem of PyTorch's ResNets"
        )


def _count_blocks(tensors: Mapping[str, np.ndarray], blocks: str) -> int:
    numbers = [int(m[1]) for name in tensors if (m := re.match(rf"{blocks}\.(\d+)\.", name))]
    return max(numbers, default=-1) + 1


def _infer_heads(option: str, dim: int, channels: int) -> int:
    """Return the number of heads with `channels` channels each."""
    if math.gcd(dim, channels) != channels:
        raise UserError(
            f"--{option}: not given, and {dim} channels are not a multiple of the usual {channels} "
            "per head; expected the number of heads"
        )
    return dim // channels
