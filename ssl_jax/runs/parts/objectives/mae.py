"""The MAE objective of a config."""

from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax import models, objectives
from ssl_jax.augment import Normalisation
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.runs.parts.construct import construct
from ssl_jax.runs.parts.networks import make_backbone, make_precision
from ssl_jax.runs.parts.sections import check_sections
from ssl_jax.runs.parts.views import make_views

__all__ = ["from_card"]


def from_card(card: ModelCard) -> objectives.MAE:
    """Build the MAE objective, with its network and views, from a model card.

    Raises:
        UserError: If the config has other sections, or a field is invalid.
    """
    config = card.config
    check_sections(config, ("backbone", "decoder"), ("train",))
    model = construct(
        models.MaskedAutoencoder,
        config.model.decoder,
        "model.decoder",
        backbone=make_backbone(config),
        channels=len(card.sensor.bands),
        dtype=make_precision(config).dtype,
    )
    _check_mask_ratio(config, model.backbone.patch_size)
    return construct(
        objectives.MAE,
        config.objective,
        "objective",
        model=model,
        views=make_views(card, "train"),
        normalise=Normalisation.from_sensor(card.sensor),
    )


def _check_mask_ratio(config: ConfigDict, patch_size: int) -> None:
    """Check that some patches of a view are hidden, and some are visible."""
    ratio = config.objective.get("mask_ratio", objectives.MAE.mask_ratio)
    count = (config.augment.train.size // patch_size) ** 2
    if 0 < ratio < 1 and not 0 < int(count * (1 - ratio)) < count:
        raise UserError(
            f"config.objective.mask_ratio: found {ratio}, which hides all or none of the {count} "
            "patches of a view; expected a fraction that leaves some of each"
        )
