"""From a config to classification."""

from ssl_jax import models, objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import backbone_of, compute_dtype
from ssl_jax.runs.parts.sections import expect_sections, expect_target
from ssl_jax.runs.parts.views import mix_of, views_of

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.Classification:
    """The objective, with its network and views, of a card whose config names it."""
    config = card.config
    expect_sections(config, ("backbone", "head"), ("train", "evaluation"))
    expect_target(card, "labels" if config.objective.multi_label else "label")
    head = construct(
        models.MLP,
        config.model.head,
        "model.head",
        num_classes=len(card.classes),
        dtype=compute_dtype(config),
    )
    section = config.objective.to_dict()
    section.pop("mix", None)
    return construct(
        objectives.Classification,
        section,
        "objective",
        mix=mix_of(config),
        backbone=backbone_of(config),
        head=head,
        normalise=Normalisation.of(card.sensor),
        classes=card.classes,
        views=views_of(card, "train"),
        evaluation_views=views_of(card, "evaluation"),
    )
