"""The objective of a config, built from a model card: a module per objective."""

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
    """Build the objective that a card's config names, with its network and views.

    Raises:
        UserError: If the config names no objective, or a field is invalid.
    """
    return choose(_OBJECTIVES, card.config.objective, "objective")(card)
