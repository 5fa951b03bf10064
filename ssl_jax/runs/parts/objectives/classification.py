"""The classification objective of a config."""

from ssl_jax import models, objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.class_weights import drop_balanced
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import make_backbone, make_precision
from ssl_jax.runs.parts.sections import check_sections, check_target
from ssl_jax.runs.parts.views import make_mix, make_views

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.Classification:
    """Build the classification objective, with its network and views, from a model card.

    Raises:
        UserError: If the config has other sections, a field is invalid, or the dataset has other
            targets.
    """
    config = card.config
    check_sections(config, ("backbone", "head"), ("train", "evaluation"))
    check_target(card, "labels" if config.objective.multi_label else "label")
    head = construct(
        models.MLP,
        config.model.head,
        "model.head",
        num_classes=len(card.classes),
        dtype=make_precision(config).dtype,
    )
    section = drop_balanced(config.objective.to_dict())
    section.pop("mix", None)
    return construct(
        objectives.Classification,
        section,
        "objective",
        mix=make_mix(config),
        backbone=make_backbone(config),
        head=head,
        normalise=Normalisation.from_sensor(card.sensor),
        classes=card.classes,
        views=make_views(card, "train"),
        evaluation_views=make_views(card, "evaluation"),
    )
