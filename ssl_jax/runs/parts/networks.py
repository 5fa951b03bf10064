"""The backbone of a config, and the dtype in which networks compute."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax import models
from ssl_jax.runs.parts.construct import choose, construct

__all__ = ["BACKBONES", "choose_compute_dtype", "make_backbone"]

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
    section = config.model.backbone
    arguments = (
        {} if section.name == "image_statistics" else {"dtype": choose_compute_dtype(config)}
    )
    backbone = construct(
        choose(BACKBONES, section, "model.backbone"), section, "model.backbone", **arguments
    )
    patch = getattr(backbone, "patch_size", 1)
    for name, views in config.augment.items():
        # UperNet pads images to a multiple of the patch size.
        if views.size % patch and config.objective.name != "segmentation":
            raise UserError(
                f"config.augment.{name}.size: found {views.size}; expected a multiple of "
                f"config.model.backbone.patch_size {patch}"
            )
    return backbone


def choose_compute_dtype(config: ConfigDict) -> Any:
    """Return the dtype of `config.precision`: `bfloat16`, `float32`, or `auto`.

    `auto` is bfloat16 on devices that support it natively and float32 on others: V100s and earlier
    GPUs have no bfloat16, and on a CPU it is emulated and slow.

    Raises:
        UserError: If the precision is none of these.
    """
    if config.precision == "auto":
        device = jax.devices()[0]
        old_gpu = any(kind in device.device_kind for kind in ("V100", "P100", "T4", "RTX 20"))
        return jnp.float32 if device.platform == "cpu" or old_gpu else jnp.bfloat16
    if config.precision not in ("float32", "bfloat16"):
        raise UserError(
            f"config.precision: found {config.precision!r}; expected auto, float32 or bfloat16"
        )
    return jnp.dtype(config.precision)
