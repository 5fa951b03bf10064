"""From a config to MAE."""

from ssl_jax import models, objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import backbone_of, compute_dtype
from ssl_jax.runs.parts.sections import expect_sections
from ssl_jax.runs.parts.views import views_of

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.MAE:
    """The objective, with its network and views, of a card whose config names it."""
    config = card.config
    expect_sections(config, ("backbone", "decoder"), ("train",))
    model = construct(
        models.MaskedAutoencoder,
        config.model.decoder,
        "model.decoder",
        backbone=backbone_of(config),
        channels=len(card.sensor.bands),
        dtype=compute_dtype(config),
    )
    return construct(
        objectives.MAE,
        config.objective,
        "objective",
        model=model,
        views=views_of(card, "train"),
        normalise=Normalisation.of(card.sensor),
    )
