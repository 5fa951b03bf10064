"""Layout of Hugging Face's transformers for ViT, ViTMAE and ResNet, and conversion to timm's.

Files have the tensor names of version 4 (`encoder.layer.0.attention.attention.query`), while the
modules of version 5 have others (`layers.0.attention.q_proj`): both are read, and the names of
files are written. Query, key and value are separate in transformers and fused (qkv) in timm.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.models import ViT
from ssl_jax.weights import resnet, vit

__all__ = [
    "STEMS",
    "find_unused_tensors",
    "from_timm",
    "from_torch",
    "is_transformers_layout",
    "to_timm",
    "to_torch",
]

_RESNET_STEM = "embedder.embedder.convolution.weight"
_VIT_STEM = "embeddings.patch_embeddings.projection.weight"
STEMS = (_RESNET_STEM, _VIT_STEM)
_QKV = ("query", "key", "value")
_CONV, _NORM = "convolution", "normalization"

# Modules: name in timm, name in transformers' files, and pattern of all names in transformers.
_TOP_MODULES = (
    ("cls_token", "embeddings.cls_token", r"embeddings\.cls_token"),
    ("pos_embed", "embeddings.position_embeddings", r"embeddings\.position_embeddings"),
    (
        "patch_embed.proj",
        "embeddings.patch_embeddings.projection",
        r"embeddings\.patch_embeddings\.projection",
    ),
    ("norm", "layernorm", r"layernorm"),
    ("head", "classifier", r"classifier"),
)
_BLOCK_MODULES = (
    ("norm1", "layernorm_before", r"layernorm_before"),
    ("attn.query", "attention.attention.query", r"attention\.(attention\.query|q_proj)"),
    ("attn.key", "attention.attention.key", r"attention\.(attention\.key|k_proj)"),
    ("attn.value", "attention.attention.value", r"attention\.(attention\.value|v_proj)"),
    ("attn.proj", "attention.output.dense", r"attention\.(output\.dense|o_proj)"),
    ("norm2", "layernorm_after", r"layernorm_after"),
    ("mlp.fc1", "intermediate.dense", r"(intermediate\.dense|mlp\.fc1)"),
    ("mlp.fc2", "output.dense", r"(output\.dense|mlp\.fc2)"),
)
_BLOCK = re.compile(r"(decoder\.decoder_)?(encoder\.layer|layers?)\.(\d+)\.(.+)")


def is_transformers_layout(tensors: Mapping[str, np.ndarray]) -> bool:
    """Return whether the names of a state dict are those of transformers."""
    return any(name.endswith((_RESNET_STEM, _VIT_STEM)) for name in tensors)


def find_unused_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the names of the tensors that `to_timm` ignores, each with the reason."""
    reason = "part of ViTModel's pooler, which the networks here lack"
    return {name: reason for name in tensors if re.match(r"(vit\.)?pooler\.", name)}


def from_torch(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Convert a state dict to variables.

    Args:
        tensors: State dict of a ViT, ViTMAE or ResNet of transformers.

    Returns:
        Variables of `backbone` and, if the state dict has them, of a linear `head` and a `decoder`.

    Raises:
        UserError: If a tensor is not of one of these networks, or a tensor of query, key or value
            is missing.
    """
    timm_tensors = to_timm(tensors)
    return (resnet if resnet.STEM in timm_tensors else vit).from_torch(timm_tensors)


def to_torch(variables: Mapping[str, Any], backbone: Any) -> dict[str, np.ndarray]:
    """Convert variables to a state dict with the names of transformers' files.

    It is the inverse of `from_torch`.

    Args:
        variables: Variables of `backbone`, and optionally of a linear `head` and of a `decoder`.
        backbone: The ViT or ResNet that they are for.

    Returns:
        State dict, see `from_timm`.

    Raises:
        ValueError: If there are other modules, for which the layout has no names.
    """
    if isinstance(backbone, ViT):
        return from_timm(vit.to_torch(variables, backbone))
    return from_timm(resnet.to_torch(variables))


def to_timm(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Convert a state dict to timm's layout, in which query, key and value are fused.

    Args:
        tensors: State dict of a ViT, ViTMAE or ResNet of transformers.

    Returns:
        State dict in timm's layout.

    Raises:
        UserError: If a tensor is not of one of these networks, or a tensor of query, key or value
            is missing.
    """
    tensors = {name: t for name, t in tensors.items() if name not in find_unused_tensors(tensors)}
    if any(name.endswith(_RESNET_STEM) for name in tensors):
        return {_to_timm_resnet_name(name): tensor for name, tensor in tensors.items()}
    return _fuse_qkv({_to_timm_vit_name(name): tensor for name, tensor in tensors.items()})


def from_timm(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Convert a state dict in timm's layout to the names of transformers' files.

    Args:
        tensors: State dict of a ViT, MAE or ResNet in timm's layout.

    Returns:
        State dict of ViTModel(add_pooling_layer=False) or ResNetModel; with a classifier, of
        ViTForImageClassification or ResNetForImageClassification; with a decoder, of
        ViTMAEForPreTraining.
    """
    if resnet.STEM in tensors:
        prefix = "resnet." if resnet.CLASSIFIER[0] in tensors else ""
        return {_to_file_resnet_name(name, prefix): tensor for name, tensor in tensors.items()}
    prefix = "vit." if vit.CLASSIFIER[0] in tensors or "mask_token" in tensors else ""
    separate = _split_qkv(tensors)
    return {_to_file_vit_name(name, prefix): tensor for name, tensor in separate.items()}


def _to_timm_vit_name(name: str) -> str:
    stripped = name.removeprefix("vit.")
    module = re.sub(r"\.(weight|bias)$", "", stripped)
    leaf = stripped.removeprefix(module)
    if match := _BLOCK.fullmatch(module):
        decoder, _, number, inner = match.groups()
        for timm, _, pattern in _BLOCK_MODULES:
            if re.fullmatch(pattern, inner):
                return f"{'decoder_' if decoder else ''}blocks.{number}.{timm}{leaf}"
    for timm, _, pattern in _TOP_MODULES:
        if re.fullmatch(pattern, module):
            return timm + leaf
    if re.fullmatch(r"decoder\.(mask_token|decoder_(pos_embed|embed|norm|pred))", module):
        return stripped.removeprefix("decoder.")
    raise UserError(
        f"tensor {name}: unknown in a ViT or ViTMAE of transformers; expected names such as "
        "encoder.layer.0.layernorm_before.weight"
    )


def _to_file_vit_name(name: str, prefix: str) -> str:
    module = re.sub(r"\.(weight|bias)$", "", name)
    leaf = name.removeprefix(module)
    if match := re.fullmatch(r"(decoder_)?blocks\.(\d+)\.(.+)", module):
        decoder, number, inner = match.groups()
        file_names = {timm: file_name for timm, file_name, _ in _BLOCK_MODULES}
        blocks = "decoder.decoder_layers" if decoder else f"{prefix}encoder.layer"
        return f"{blocks}.{number}.{file_names[inner]}{leaf}"
    if module.startswith("decoder_") or module == "mask_token":
        return f"decoder.{name}"
    file_names = {timm: file_name for timm, file_name, _ in _TOP_MODULES}
    return ("" if module == "head" else prefix) + file_names[module] + leaf


def _fuse_qkv(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Concatenate the query, key and value of each attention layer."""
    fused = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.+\.attn)\.(?:query|key|value)(\..+)", name)
        if not match:
            fused[name] = tensor
            continue
        module, leaf = match.groups()
        parts = [f"{module}.{part}{leaf}" for part in _QKV]
        if missing := [part for part in parts if part not in tensors]:
            raise UserError(
                f"tensor {missing[0]}: missing, but there is {name}; expected query, key and value "
                "of each attention layer"
            )
        fused[f"{module}.qkv{leaf}"] = np.concatenate([tensors[part] for part in parts])
    return fused


def _split_qkv(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Split each fused qkv into query, key and value; the inverse of `_fuse_qkv`."""
    separate = {}
    for name, tensor in tensors.items():
        if ".attn.qkv." in name:
            for part, value in zip(_QKV, np.split(tensor, 3), strict=True):
                separate[name.replace(".qkv.", f".{part}.")] = np.ascontiguousarray(value)
        else:
            separate[name] = tensor
    return separate


def _to_timm_resnet_name(name: str) -> str:
    module, _, leaf = name.removeprefix("resnet.").rpartition(".")
    kind = module.rpartition(".")[2]
    block = re.fullmatch(
        r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(?:shortcut|layer\.(\d+))\.\w+", module
    )
    if module == "classifier.1":
        return f"fc.{leaf}"
    if module.startswith("embedder.embedder.") and kind in (_CONV, _NORM):
        return f"{'conv1' if kind == _CONV else 'bn1'}.{leaf}"
    if not block or kind not in (_CONV, _NORM):
        raise UserError(
            f"tensor {name}: unknown in a ResNet of transformers; expected names such as "
            "encoder.stages.0.layers.0.layer.0.convolution.weight"
        )
    stage, number, layer = block.groups()
    if layer is None:
        inner = f"downsample.{0 if kind == _CONV else 1}"
    else:
        inner = f"{'conv' if kind == _CONV else 'bn'}{int(layer) + 1}"
    return f"layer{int(stage) + 1}.{number}.{inner}.{leaf}"


def _to_file_resnet_name(name: str, prefix: str) -> str:
    module, _, leaf = name.rpartition(".")
    if module == "fc":
        return f"classifier.1.{leaf}"
    is_convolution = "conv" in module or module.endswith("downsample.0")
    kind = _CONV if is_convolution else _NORM
    match = re.fullmatch(r"layer(\d+)\.(\d+)\.(.+)", module)
    if not match:
        return f"{prefix}embedder.embedder.{kind}.{leaf}"
    stage, number, inner = match.groups()
    layer = "shortcut" if inner.startswith("downsample") else f"layer.{int(inner[-1]) - 1}"
    return f"{prefix}encoder.stages.{int(stage) - 1}.layers.{number}.{layer}.{kind}.{leaf}"
