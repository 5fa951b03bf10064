"""From a model card to the objective that its config describes: one file an objective."""

from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.objectives import Objective
from ssl_jax.runs.parts.construct import choose
from ssl_jax.runs.parts.objectives import (
    classification,
    mae,
    representation,
    segmentation,
    simclr,
)

__all__ = ["make_objective"]

_OBJECTIVES = {
    "simclr": simclr.from_card,
    "mae": mae.from_card,
    "classification": classification.from_card,
    "segmentation": segmentation.from_card,
    "representation": representation.from_card,
}


def make_objective(card: ModelCard) -> Objective:
    """The objective, with its networks and views, that a card's config describes.

    Raises:
        UserError: the config names none, or a field doesn't fit.
    """
    return choose(_OBJECTIVES, card.config.objective, "objective")(card)
