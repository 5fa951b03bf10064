"""From a config to the augmentations that make the views of an image."""

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


def make_views(card: ModelCard, which: str) -> Any:
    """The augmentation of `config.augment`'s section `which`, for the bands on a card."""
    section = card.config.augment[which]
    given: dict[str, Any] = {}
    if section.name in ("simclr", "finetune") and "rgb" not in section:
        given["rgb"] = _red_green_blue(card)
    if section.name == "finetune" and "fill" not in section:
        given["fill"] = Normalisation.from_sensor(card.sensor).unit_mean
    if section.name == "segmentation":
        given["ignore_label"] = card.ignore_label
    where = f"augment.{which}"
    return construct(choose(_VIEWS, section, where), section, where, **given)


def _red_green_blue(card: ModelCard) -> tuple[int, ...]:
    """Where these bands stand if there are no others: with them hue and luma have a meaning."""
    names, bands = ("red", "green", "blue"), card.sensor.bands
    known = all(any(band.answers_to(name) for band in bands) for name in names)
    return card.sensor.indices(names) if known and len(bands) == len(names) else ()


def make_mix(config: ConfigDict) -> Mix:
    """How examples of a batch are mixed; not at all where the config doesn't say."""
    return construct(Mix, config.objective.get("mix", {}), "objective.mix")
