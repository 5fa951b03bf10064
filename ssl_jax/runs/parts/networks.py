"""The backbone of a config, the precision in which networks compute, and their attention."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax import models
from ssl_jax.devices.precision import DeviceKind, Precision, choose_attention, choose_precision
from ssl_jax.runs.parts.construct import choose, construct

__all__ = ["BACKBONES", "get_device_kind", "has_attention", "make_backbone", "make_precision"]

BACKBONES: dict[str, Callable[..., Any]] = {
    "resnet50": models.resnet50,
    "resnet18": models.resnet18,
    "vit_b": models.vit_b,
    "vit_s": models.vit_s,
    "vit_ti": models.vit_ti,
    "image_statistics": models.ImageStatistics,
}


def make_backbone(config: ConfigDict) -> Any:
    """Build the network of `config.model.backbone`.

    Raises:
        UserError: If there is no such network, a field is invalid, or the size of the views is not
            a multiple of the patch size.
    """
    section = dict(config.model.backbone)
    constructor = choose(BACKBONES, section, "model.backbone")
    precision = make_precision(config)
    arguments = {} if constructor is models.ImageStatistics else {"dtype": precision.dtype}
    if has_attention(config):
        arguments["attention"] = choose_attention(
            section.pop("attention", "auto"), precision.compute, get_device_kind()
        )
    backbone = construct(constructor, section, "model.backbone", **arguments)
    patch = getattr(backbone, "patch_size", 1)
    for name, views in config.augment.items():
        # UperNet pads images to a multiple of the patch size.
        if views.size % patch and config.objective.name != "segmentation":
            raise UserError(
                f"config.augment.{name}.size: found {views.size}; expected a multiple of "
                f"config.model.backbone.patch_size {patch}"
            )
    return backbone


def has_attention(config: ConfigDict) -> bool:
    """Return whether the backbone of a config is a network with attention, a ViT."""
    constructor = BACKBONES.get(config.model.backbone.name)
    return constructor is not None and "attention" in inspect.signature(constructor).parameters


def make_precision(config: ConfigDict) -> Precision:
    """Choose the precision of `config.precision` on the devices of this process.

    Raises:
        UserError: If there is no such precision.
    """
    return choose_precision(config.precision, get_device_kind())


def get_device_kind() -> DeviceKind:
    """Return the kind of the devices of this process."""
    return DeviceKind.of(jax.devices()[0])
