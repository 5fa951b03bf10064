"""Export of the backbone of a run for timm or transformers: `ssl_jax.convert export`."""

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

__all__ = ["ExportResult", "export_weights", "loading_code"]


class ExportResult(NamedTuple):
    """The result of `export_weights`.

    Attributes:
        metadata: The metadata of the file.
        unused: The modules that were not exported, each with the reason.
    """

    metadata: dict[str, str]
    unused: dict[str, str]


def export_weights(
    path: str | Path, file: str | Path, layout: str = "timm", image_size: int = 0
) -> ExportResult:
    """Export the backbone of a run, and its classifier if that is linear, as safetensors.

    The metadata of the file contain what is needed to use the network: its constructor or config,
    the bands with their mean and standard deviation, and the classes.

    Args:
        path: A checkpoint, or a workdir, whose newest checkpoint is exported.
        file: The file to write.
        layout: One of `ssl_jax.weights.choices.LAYOUTS`.
        image_size: Side in pixels of the images that a ViT's position embeddings are resized for;
            0 for the images that the run was evaluated on or, without evaluation, trained on.

    Raises:
        UserError: If there is no valid checkpoint, its card does not match its arrays, the layout
            has no such network, or the file can't be written.
    """
    card = read_card(path)
    backbone = _get_backbone(check_network(path, card, parts.make_objective))
    variables = loading.load_variables(Path(path))
    variables, unused = _select_exportable(variables)
    classes = card.classes if "head" in variables["params"] else ()
    size = image_size or _infer_image_size(card.config, backbone)
    network = (backbone, len(card.sensor.bands), classes, size)
    if layout == "timm":
        model = networks.format_timm_call(*network)
    else:
        model = json.dumps(networks.make_transformers_config(*network))
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
        "format": "pt",  # required by transformers
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
    _write_tensors(tensors, Path(file), metadata)
    return ExportResult(metadata, unused)


def loading_code(file: str | Path, metadata: Mapping[str, str]) -> str:
    """Format Python code that creates the network of an exported file and loads its weights.

    Args:
        file: The exported file.
        metadata: Its metadata.

    Returns:
        The code, which assigns the network with all weights of the file to `model`. timm's
        `load_state_dict` fails if any weights of the network or of the file are left over. The code
        requires imports of json, safetensors.torch, and timm or transformers.
    """
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


def _select_exportable(variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the variables of the backbone and of a linear head, and the modules excluded."""
    modules = variables["params"].keys() | variables["batch_stats"].keys()
    kept, unused = {"backbone"}, {}
    for module in sorted(modules - kept):
        head = variables["params"].get(module, {})
        if module == "head" and head.keys() == {"fc"} and module not in variables["batch_stats"]:
            kept.add(module)
        elif module == "head":
            unused[module] = "has more than one linear layer; the layouts have a single one"
        else:
            unused[module] = "is not part of the backbone"
    return {
        collection: {name: tree for name, tree in variables[collection].items() if name in kept}
        for collection in ("params", "batch_stats")
    }, unused


def _get_backbone(objective: Any) -> models.ResNet | models.ViT:
    backbone = objective.backbone if hasattr(objective, "backbone") else objective.model.backbone
    if not isinstance(backbone, models.ResNet | models.ViT):
        raise UserError(
            f"config.model.backbone: found {type(backbone).__name__}, which has no weights to "
            "export; expected a ResNet or a ViT"
        )
    return backbone


def _infer_image_size(config: ConfigDict, backbone: Any) -> int:
    """Return the side of the images of a run, rounded up to a multiple of the patch size."""
    views = config.augment.get("evaluation") or config.augment.train
    patch_size = getattr(backbone, "patch_size", 1)
    return math.ceil(views.size / patch_size) * patch_size


def _write_tensors(tensors: dict[str, np.ndarray], file: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically."""
    try:
        with replace_when_written(file) as temporary_file:
            save_file(tensors, temporary_file, metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{file}: can't be written ({error}); expected a file in an existing, writable folder"
        ) from error
