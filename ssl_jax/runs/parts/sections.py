"""What an objective needs of a config and of a dataset."""

from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax.checkpoints.card import ModelCard

__all__ = ["check_sections", "check_target"]


def check_sections(config: ConfigDict, model: tuple[str, ...], augment: tuple[str, ...]) -> None:
    """See that `config.model` and `config.augment` have these sections and no other.

    Raises:
        UserError: they haven't.
    """
    for name, wanted in (("model", model), ("augment", augment)):
        if set(config[name]) != set(wanted):
            raise UserError(
                f"config.{name}: found the sections {', '.join(config[name]) or 'none'}; objective "
                f"{config.objective.name} expects {', '.join(wanted)}"
            )


def check_target(card: ModelCard, target: str) -> None:
    """See that the dataset's records have this target.

    Raises:
        UserError: they have another.
    """
    if card.target != target:
        raise UserError(
            f"dataset {card.config.data.name}: its records have target {card.target!r}; objective "
            f"{card.config.objective.name} expects {target!r}"
        )
