"""Checks that a config and a dataset have what an objective requires."""

from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax.checkpoints.card import ModelCard

__all__ = ["check_sections", "check_target"]


def check_sections(config: ConfigDict, model: tuple[str, ...], augment: tuple[str, ...]) -> None:
    """Check that `config.model` and `config.augment` have exactly the given sections.

    Args:
        config: The config.
        model: Names of the sections of `config.model`.
        augment: Names of the sections of `config.augment`.

    Raises:
        UserError: If a section is missing, or there is another one.
    """
    for name, sections in (("model", model), ("augment", augment)):
        if set(config[name]) != set(sections):
            raise UserError(
                f"config.{name}: found the sections {', '.join(config[name]) or 'none'}; objective "
                f"{config.objective.name} expects {', '.join(sections)}"
            )


def check_target(card: ModelCard, target: str) -> None:
    """Check that the records of the dataset have the given target.

    Args:
        card: The model card, with the target of the dataset.
        target: `label`, `labels` or `mask`.

    Raises:
        UserError: If they have another target.
    """
    if card.target != target:
        raise UserError(
            f"dataset {card.config.data.name}: its records have target {card.target!r}; objective "
            f"{card.config.objective.name} expects {target!r}"
        )
