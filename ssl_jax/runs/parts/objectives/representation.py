"""The representation objective of a config: a backbone without a head, which is not trained."""

from ssl_jax import objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import make_backbone
from ssl_jax.runs.parts.sections import check_sections
from ssl_jax.runs.parts.views import make_views

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.Representation:
    """Build the representation objective, with its network and views, from a model card.

    Raises:
        UserError: If the config has other sections, or a field is invalid.
    """
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
