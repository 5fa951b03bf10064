"""From a config to the representation of a backbone alone."""

from ssl_jax import objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import backbone_of
from ssl_jax.runs.parts.sections import expect_sections
from ssl_jax.runs.parts.views import views_of

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.Representation:
    """The objective, with its network and views, of a card whose config names it."""
    config = card.config
    expect_sections(config, ("backbone",), ("evaluation",))
    return construct(
        objectives.Representation,
        config.objective,
        "objective",
        backbone=backbone_of(config),
        normalise=Normalisation.of(card.sensor),
        views=views_of(card, "evaluation"),
    )
