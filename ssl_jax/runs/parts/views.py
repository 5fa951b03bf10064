"""The augmentations of a config, which make the views of an image, and its mixing of examples."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from ssl_jax.augment import Augmentation, Mix, Normalisation, SegmentationAugmentation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import choose, construct

__all__ = ["make_mix", "make_views"]

_VIEWS: dict[str, Callable[..., Any]] = {
    "simclr": Augmentation.simclr,
    "mae": Augmentation.mae,
    "finetune": Augmentation.finetune,
    "evaluation": Augmentation.evaluation,
    "segmentation": SegmentationAugmentation.aerial,
}


def make_views(card: ModelCard, name: str) -> Any:
    """Build the augmentation of `config.augment`'s section `name`, for the bands on a card.

    Raises:
        UserError: If the section names no augmentation, or a field is invalid.
    """
    section = card.config.augment[name]
    arguments: dict[str, Any] = {}
    if section.name in ("simclr", "finetune") and "rgb" not in section:
        arguments["rgb"] = _find_rgb_indices(card)
    if section.name == "finetune" and "fill" not in section:
        arguments["fill"] = Normalisation.from_sensor(card.sensor).unit_mean
    if section.name == "segmentation":
        arguments["ignore_label"] = card.ignore_label
    path = f"augment.{name}"
    return construct(choose(_VIEWS, section, path), section, path, **arguments)


def _find_rgb_indices(card: ModelCard) -> tuple[int, ...]:
    """Return the indices of red, green and blue; empty unless they are all the bands.

    Hue and luma are only defined for images of these three bands.
    """
    names, bands = ("red", "green", "blue"), card.sensor.bands
    has_rgb = all(any(band.has_name(name) for band in bands) for name in names)
    return card.sensor.indices(names) if has_rgb and len(bands) == len(names) else ()


def make_mix(config: ConfigDict) -> Mix:
    """Build the mixing of examples in `config.objective.mix`; by default examples aren't mixed."""
    return construct(Mix, config.objective.get("mix", {}), "objective.mix")
