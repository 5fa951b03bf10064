"""From a config to the representation of a backbone alone."""

from ssl_jax import objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import make_backbone
from ssl_jax.runs.parts.sections import check_sections
from ssl_jax.runs.parts.views import make_views

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.Representation:
    """The objective, with its network and views, of a card whose config names it."""
    config = card.config
    check_sections(config, ("backbone",), ("evaluation",))
    return construct(
        objectives.Representation,
        config.objective,
        "objective",
        backbone=make_backbone(config),
        normalise=Normalisation.from_sensor(card.sensor),
        views=make_views(card, "evaluation"),
    )
