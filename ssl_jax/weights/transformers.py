"""The names of Hugging Face's transformers for ViT, ViTMAE and ResNet, and those of timm.

Files keep the names of version 4 (`encoder.layer.0.attention.attention.query`), while the modules
of version 5 have others (`layers.0.attention.q_proj`): both are read, and the files' are written.
Query, key and value are apart there and fused in timm.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.models import ViT
from ssl_jax.weights import resnet, vit

__all__ = [
    "find_unused_tensors",
    "from_timm",
    "from_torch",
    "is_transformers_layout",
    "to_timm",
    "to_torch",
]

_RESNET_STEM = "embedder.embedder.convolution.weight"
_VIT_STEM = "embeddings.patch_embeddings.projection.weight"
_QKV = ("query", "key", "value")
_CONV, _NORM = "convolution", "normalization"

# timm's name of a module, that of transformers' files, and any of its names.
_TOP = (
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
_IN_BLOCK = (
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
    """Whether the names are those of transformers."""
    return any(name.endswith((_RESNET_STEM, _VIT_STEM)) for name in tensors)


def find_unused_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The tensors that `to_timm` makes nothing of, each with the reason."""
    reason = "of ViTModel's pooler, which no network here has"
    return {name: reason for name in tensors if re.match(r"(vit\.)?pooler\.", name)}


def from_torch(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of `backbone` and, where the file has them, of a linear `head` and a `decoder`.

    Raises:
        UserError: a tensor has no place in these networks.
    """
    renamed = to_timm(tensors)
    return (resnet if resnet.STEM in renamed else vit).from_torch(renamed)


def to_torch(variables: Mapping[str, Any], backbone: Any) -> dict[str, np.ndarray]:
    """The tensors, as in transformers' files, of what `from_torch` makes.

    Raises:
        ValueError: there are other modules, which the layout has no names for.
    """
    if isinstance(backbone, ViT):
        return from_timm(vit.to_torch(variables, backbone))
    return from_timm(resnet.to_torch(variables))


def to_timm(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same tensors in timm's names, with query, key and value fused.

    Raises:
        UserError: a tensor has no place in a ViT, ViTMAE or ResNet, or one of three is missing.
    """
    tensors = {name: t for name, t in tensors.items() if name not in find_unused_tensors(tensors)}
    if any(name.endswith(_RESNET_STEM) for name in tensors):
        return {_timm_of_resnet(name): tensor for name, tensor in tensors.items()}
    return _fused({_timm_of_vit(name): tensor for name, tensor in tensors.items()})


def from_timm(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same tensors in the names of transformers' files.

    They are those of ResNetModel or ViTModel(add_pooling_layer=False); with a classifier those of
    the ForImageClassification classes, with a decoder those of ViTMAEForPreTraining.
    """
    if resnet.STEM in tensors:
        prefix = "resnet." if resnet.CLASSIFIER[0] in tensors else ""
        return {_theirs_of_resnet(name, prefix): tensor for name, tensor in tensors.items()}
    whole = vit.CLASSIFIER[0] in tensors or "mask_token" in tensors
    prefix = "vit." if whole else ""
    return {_theirs_of_vit(name, prefix): tensor for name, tensor in _apart(tensors).items()}


def _timm_of_vit(name: str) -> str:
    stripped = name.removeprefix("vit.")
    module = re.sub(r"\.(weight|bias)$", "", stripped)
    leaf = stripped.removeprefix(module)
    if match := _BLOCK.fullmatch(module):
        decoder, _, number, inner = match.groups()
        for timm, _, pattern in _IN_BLOCK:
            if re.fullmatch(pattern, inner):
                return f"{'decoder_' if decoder else ''}blocks.{number}.{timm}{leaf}"
    for timm, _, pattern in _TOP:
        if re.fullmatch(pattern, module):
            return timm + leaf
    if re.fullmatch(r"decoder\.(mask_token|decoder_(pos_embed|embed|norm|pred))", module):
        return stripped.removeprefix("decoder.")
    raise UserError(f"tensor {name}: has no place in transformers' ViT or ViTMAE")


def _theirs_of_vit(name: str, prefix: str) -> str:
    module = re.sub(r"\.(weight|bias)$", "", name)
    leaf = name.removeprefix(module)
    if match := re.fullmatch(r"(decoder_)?blocks\.(\d+)\.(.+)", module):
        decoder, number, inner = match.groups()
        theirs = {timm: theirs for timm, theirs, _ in _IN_BLOCK}[inner]
        blocks = "decoder.decoder_layers" if decoder else f"{prefix}encoder.layer"
        return f"{blocks}.{number}.{theirs}{leaf}"
    if module.startswith("decoder_") or module == "mask_token":
        return f"decoder.{name}"
    theirs = {timm: theirs for timm, theirs, _ in _TOP}[module]
    return ("" if module == "head" else prefix) + theirs + leaf


def _fused(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Query, key and value of each block as one tensor."""
    fused = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.+\.attn)\.(?:query|key|value)(\..+)", name)
        if not match:
            fused[name] = tensor
            continue
        module, leaf = match.groups()
        three = [f"{module}.{part}{leaf}" for part in _QKV]
        if missing := [part for part in three if part not in tensors]:
            raise UserError(f"tensor {name}: has no {missing[0]} beside it; expected all three")
        fused[f"{module}.qkv{leaf}"] = np.concatenate([tensors[part] for part in three])
    return fused


def _apart(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reverse of `_fused`."""
    apart = {}
    for name, tensor in tensors.items():
        if ".attn.qkv." in name:
            for part, value in zip(_QKV, np.split(tensor, 3), strict=True):
                apart[name.replace(".qkv.", f".{part}.")] = np.ascontiguousarray(value)
        else:
            apart[name] = tensor
    return apart


def _timm_of_resnet(name: str) -> str:
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
        raise UserError(f"tensor {name}: has no place in transformers' ResNet")
    stage, number, layer = block.groups()
    if layer is None:
        inner = f"downsample.{0 if kind == _CONV else 1}"
    else:
        inner = f"{'conv' if kind == _CONV else 'bn'}{int(layer) + 1}"
    return f"layer{int(stage) + 1}.{number}.{inner}.{leaf}"


def _theirs_of_resnet(name: str, prefix: str) -> str:
    module, _, leaf = name.rpartition(".")
    if module == "fc":
        return f"classifier.1.{leaf}"
    convolution = "conv" in module or module.endswith("downsample.0")
    kind = _CONV if convolution else _NORM
    match = re.fullmatch(r"layer(\d+)\.(\d+)\.(.+)", module)
    if not match:
        return f"{prefix}embedder.embedder.{kind}.{leaf}"
    stage, number, inner = match.groups()
    place = "shortcut" if inner.startswith("downsample") else f"layer.{int(inner[-1]) - 1}"
    return f"{prefix}encoder.stages.{int(stage) - 1}.layers.{number}.{place}.{kind}.{leaf}"
