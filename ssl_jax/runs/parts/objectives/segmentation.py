"""The segmentation objective of a config."""

from data_pipelines.errors import UserError
from ssl_jax import models, objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.class_weights import drop_balanced
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import make_backbone, make_precision
from ssl_jax.runs.parts.sections import check_sections, check_target
from ssl_jax.runs.parts.views import make_views

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.Segmentation:
    """Build the segmentation objective, with its network and views, from a model card.

    Raises:
        UserError: If the config has other sections, a field is invalid, an excluded class does not
            exist, or the dataset has no masks.
    """
    config = card.config
    check_sections(config, ("backbone", "upernet"), ("train",))
    check_target(card, "mask")
    for name in config.objective.excluded:
        if name not in card.classes:
            raise UserError(
                f"config.objective.excluded: found {name!r}; expected classes of the dataset: "
                f"{', '.join(card.classes)}"
            )
    excluded = tuple(card.classes.index(name) for name in config.objective.excluded)
    model = construct(
        models.UperNet,
        config.model.upernet,
        "model.upernet",
        backbone=make_backbone(config),
        num_classes=len(objectives.kept_classes(card.classes, excluded)),
        dtype=make_precision(config).dtype,
    )
    section = drop_balanced(config.objective.to_dict())
    del section["excluded"]
    return construct(
        objectives.Segmentation,
        section,
        "objective",
        model=model,
        normalise=Normalisation.from_sensor(card.sensor),
        classes=card.classes,
        views=make_views(card, "train"),
        excluded=excluded,
        ignore_label=card.ignore_label,
    )
