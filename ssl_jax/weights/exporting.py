"""The backbone of a run as a file that timm or transformers load: `ssl_jax.convert export`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from data_pipelines.errors import UserError
from data_pipelines.files.writing import replace_when_written
from ssl_jax import models
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.runs import parts
from ssl_jax.weights import networks, positions, resnet, transformers, vit

__all__ = ["LAYOUTS", "ExportResult", "export_weights", "loading_code"]

LAYOUTS = ("timm", "transformers")


class ExportResult(NamedTuple):
    """What `export_weights` wrote beside the tensors, and the modules it left out: name, reason."""

    metadata: dict[str, str]
    unused: dict[str, str]


def export_weights(
    path: str | Path, file: str | Path, layout: str = "timm", image_size: int = 0
) -> ExportResult:
    """Write the backbone of a run, and its classifier where that is linear, as safetensors.

    Args:
        path: a run's workdir or one of its bundles.
        file: what to write, with all a user of PyTorch must know in its metadata.
        layout: one of `LAYOUTS`.
        image_size: for a ViT, side of the images that its position table is to be for; by default
            that of the images the run was evaluated on, or else trained on.

    Raises:
        UserError: there is no checkpoint, its card isn't that of its arrays, or the layout has no
            such network.
    """
    card = read_card(path)
    backbone = _backbone(check_network(path, card, parts.make_objective))
    variables = loading.load_variables(Path(path))
    variables, unused = _exportable(variables)
    classes = card.classes if "head" in variables["params"] else ()
    size = image_size or _size(card.config, backbone)
    shape = (backbone, len(card.sensor.bands), classes, size)
    if layout == "timm":
        model = networks.timm_call(*shape)
    else:
        model = json.dumps(networks.transformers_config(*shape))
    if isinstance(backbone, models.ViT):
        tensors = vit.to_torch(variables, backbone)
        tensors = positions.resize_positions(
            tensors, positions.patches_per_side(size, backbone.patch_size)
        )
    else:
        tensors = resnet.to_torch(variables)
    if layout == "transformers":
        tensors = transformers.from_timm(tensors)
    bands = card.sensor.bands
    metadata = {
        "format": "pt",  # transformers reads no file without it
        "layout": layout,
        "model": model,
        "bands": ",".join(card.sensor.names),
        "mean": json.dumps([band.mean for band in bands]),
        "std": json.dumps([band.std for band in bands]),
        "classes": json.dumps(classes),
        "target": card.target,
        "image_dtype": card.image_dtype,
        "sensor": json.dumps(card.sensor.to_dict()),
    }
    _save(tensors, Path(file), metadata)
    return ExportResult(metadata, unused)


def loading_code(file: str | Path, metadata: Mapping[str, str]) -> str:
    """Python that makes the network `model` of an exported file and loads all of it, strictly."""
    tensors = f'safetensors.torch.load_file("{file}")'
    if metadata["layout"] == "timm":
        return f"model = {metadata['model']}\nmodel.load_state_dict({tensors})"
    architecture = json.loads(metadata["model"])["architectures"][0]
    pooler = ", add_pooling_layer=False" if architecture == "ViTModel" else ""
    return (
        f'config = json.loads(safetensors.safe_open("{file}", "pt").metadata()["model"])\n'
        f"model = transformers.{architecture}.from_pretrained(\n"
        f"    None, config=transformers.AutoConfig.for_model(**config),\n"
        f"    state_dict={tensors}{pooler})"
    )


def _exportable(variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The variables of the backbone and of a linear head, and the modules left out."""
    modules = variables["params"].keys() | variables["batch_stats"].keys()
    kept, unused = {"backbone"}, {}
    for module in sorted(modules - kept):
        head = variables["params"].get(module, {})
        if module == "head" and head.keys() == {"fc"} and module not in variables["batch_stats"]:
            kept.add(module)
        elif module == "head":
            unused[module] = "has more than one linear layer, which no classifier there has"
        else:
            unused[module] = "is not part of the backbone"
    return {
        collection: {name: tree for name, tree in variables[collection].items() if name in kept}
        for collection in ("params", "batch_stats")
    }, unused


def _backbone(objective: Any) -> models.ResNet | models.ViT:
    backbone = objective.backbone if hasattr(objective, "backbone") else objective.model.backbone
    if not isinstance(backbone, models.ResNet | models.ViT):
        raise UserError("config.model.backbone: has no weights; expected a ResNet or a ViT")
    return backbone


def _size(config: ConfigDict, backbone: Any) -> int:
    """Side of the images a network saw last, filled up to whole patches."""
    views = config.augment.get("evaluation") or config.augment.train
    patch_size = getattr(backbone, "patch_size", 1)
    return math.ceil(views.size / patch_size) * patch_size


def _save(tensors: dict[str, np.ndarray], file: Path, metadata: dict[str, str]) -> None:
    """Written beside and then renamed, so that no half of a file is ever there."""
    try:
        with replace_when_written(file) as beside:
            save_file(tensors, beside, metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{file}: {error}; expected a file that can be written") from error
