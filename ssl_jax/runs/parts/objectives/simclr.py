"""The SimCLR objective of a config."""

from ssl_jax import models, objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import make_backbone, make_precision
from ssl_jax.runs.parts.sections import check_sections
from ssl_jax.runs.parts.views import make_views

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.SimCLR:
    """Build the SimCLR objective, with its network and views, from a model card.

    Raises:
        UserError: If the config has other sections, or a field is invalid.
    """
    config = card.config
    check_sections(config, ("backbone", "projection"), ("train",))
    projection = construct(
        models.Projection,
        config.model.projection,
        "model.projection",
        dtype=make_precision(config).dtype,
    )
    return construct(
        objectives.SimCLR,
        config.objective,
        "objective",
        model=models.SimCLRModel(backbone=make_backbone(config), projection=projection),
        views=make_views(card, "train"),
        normalise=Normalisation.from_sensor(card.sensor),
    )
