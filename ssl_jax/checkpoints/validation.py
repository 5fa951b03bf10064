"""Bundles from elsewhere: what one says of itself is checked before memory is taken for it."""

from collections.abc import Callable
from pathlib import Path

import jax
from orbax.checkpoint import v1 as ocp

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.pytrees import array_shapes, find_mismatch
from ssl_jax.objectives import Objective

__all__ = ["check_network", "read_card"]

# Of a file that describes a bundle: a card with tens of thousands of classes has a few.
_MOST_BYTES = 64 * 2**20


def read_card(path: str | Path) -> ModelCard:
    """The card of the newest bundle at `path` (see `loading.find_newest_checkpoint`).

    Raises:
        UserError: there is no bundle, or its card isn't one.
    """
    checkpoint = loading.find_newest_checkpoint(Path(path))
    for file in (checkpoint / "card").glob("*"):
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(
                f"bundle {checkpoint}: its card has {file.stat().st_size:,} bytes; expected at "
                f"most "
                f"{_MOST_BYTES:,}: it is damaged or none, get the checkpoint again"
            )
    try:
        card = loading.load_card(checkpoint)
    except (OSError, ValueError, RecursionError, KeyError) as error:
        raise UserError(
            f"bundle {checkpoint}: its card can't be read ({_told(error)}); expected JSON as it "
            f"was "
            "written: get the checkpoint again"
        ) from error
    try:
        return ModelCard.from_dict(card)
    except UserError as error:
        raise UserError(f"bundle {checkpoint}: {error}") from error
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise UserError(
            f"bundle {checkpoint}: its card can't be used ({_told(error)}); expected it as it was "
            "written: get the checkpoint again"
        ) from error


def check_network(
    path: str | Path, card: ModelCard, make: Callable[[ModelCard], Objective]
) -> Objective:
    """The objective that a card describes, if the arrays of the bundle at `path` are its network's.

    Only the names and shapes of arrays are read; none is.

    Args:
        path: of the bundle, or of a workdir of which the newest is taken.
        card: its card.
        make: card -> objective.

    Raises:
        UserError: the card describes no network, or another one.
    """
    checkpoint = loading.find_newest_checkpoint(Path(path))
    stored = _stored_shapes(checkpoint)
    try:
        _expect_depth(card, len(stored))
        objective = make(card)
        expected = array_shapes(
            jax.eval_shape(objective.init, jax.random.key(0), card.batch_shapes(1))
        )
    except UserError as error:
        raise UserError(f"bundle {checkpoint}: its card says {error}") from error
    except Exception as error:  # whatever a network makes of numbers that don't belong together
        raise UserError(
            f"bundle {checkpoint}: no network can be made of the config on its card "
            f"({_told(error)}); get the checkpoint again"
        ) from error
    differs = find_mismatch(stored, expected)
    if differs:
        name, found, wanted = differs
        raise UserError(
            f"bundle {checkpoint}: {name} is {found}; the network on its card has {wanted}: they "
            f"don't "
            "belong together, get the checkpoint again"
        )
    return objective


def _stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    try:
        size = (checkpoint / "state" / "_METADATA").stat().st_size
        if size > _MOST_BYTES:
            raise ValueError(f"{size:,} bytes of names and shapes")
        state = ocp.checkpointables_metadata(checkpoint.resolve()).metadata["state"]
        return array_shapes({name: state.get(name) or {} for name in ("params", "batch_stats")})
    except Exception as error:  # whatever Orbax makes of damaged files
        raise UserError(
            f"bundle {checkpoint}: can't be read ({_told(error)}); expected it as it was written: "
            f"get "
            "the checkpoint again"
        ) from error


def _expect_depth(card: ModelCard, arrays: int) -> None:
    """No network has more layers than arrays; to build one that has would take hours."""
    for name, section in card.config.model.items():
        layers = (
            section.get("depth", 0)
            + section.get("layers", 0)
            + sum(section.get("stages", ()))
            + len(section.get("pool_scales", ()))
        )
        if layers > arrays:
            raise UserError(
                f"config.model.{name}: found {layers:,} layers, with {arrays:,} arrays in the "
                "bundle; they don't belong together, get the checkpoint again"
            )


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
