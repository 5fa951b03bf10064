"""Checks of checkpoints from untrusted sources, made before memory is allocated for them."""

from collections.abc import Callable
from pathlib import Path

import jax
from orbax.checkpoint import v1 as ocp

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.finding import find_newest_checkpoint
from ssl_jax.devices.pytrees import array_shapes, find_mismatch
from ssl_jax.objectives import Objective

__all__ = ["check_network", "read_card"]

# Limit of each file that describes a checkpoint; a card with 2**16 classes has a few megabytes.
_MAX_BYTES = 64 * 2**20


def read_card(path: str | Path) -> ModelCard:
    """Read and check the model card of the newest checkpoint at `path`.

    Args:
        path: A checkpoint or a workdir, see `finding.find_newest_checkpoint`.

    Raises:
        UserError: If there is no valid checkpoint, or its card can't be read or is invalid.
    """
    checkpoint = find_newest_checkpoint(Path(path))
    for file in (checkpoint / "card").glob("*"):
        if file.stat().st_size > _MAX_BYTES:
            raise UserError(
                f"checkpoint {checkpoint}: its card has {file.stat().st_size:,} bytes; expected at "
                f"most {_MAX_BYTES:,}: the card is corrupt, get the checkpoint again"
            )
    try:
        card = loading.load_card(checkpoint)
    except (OSError, ValueError, RecursionError, KeyError) as error:
        raise UserError(
            f"checkpoint {checkpoint}: its card can't be read ({_describe_error(error)}); expected "
            "valid JSON: get the checkpoint again"
        ) from error
    try:
        return ModelCard.from_dict(card)
    except UserError as error:
        raise UserError(f"checkpoint {checkpoint}: {error}") from error
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise UserError(
            f"checkpoint {checkpoint}: its card can't be parsed ({_describe_error(error)}); "
            "expected a model card written by ssl_jax: get the checkpoint again"
        ) from error


def check_network(
    path: str | Path, card: ModelCard, make_objective: Callable[[ModelCard], Objective]
) -> Objective:
    """Build the objective that a card describes, and check it against the checkpoint's arrays.

    Only the names and shapes of the arrays are read, not their values.

    Args:
        path: A checkpoint, or a workdir, whose newest checkpoint is checked.
        card: Its card.
        make_objective: Builds the objective of a card.

    Returns:
        The objective.

    Raises:
        UserError: If no network can be built from the card, or its variables have other names or
            shapes than the arrays.
    """
    checkpoint = find_newest_checkpoint(Path(path))
    stored = _read_stored_shapes(checkpoint)
    try:
        _check_depth(card, len(stored))
        objective = make_objective(card)
        expected = array_shapes(
            jax.eval_shape(objective.init, jax.random.key(0), card.batch_shapes(1))
        )
    except UserError as error:
        raise UserError(f"checkpoint {checkpoint}: invalid model card: {error}") from error
    except Exception as error:  # networks raise errors of any type for inconsistent sizes
        raise UserError(
            f"checkpoint {checkpoint}: no network can be built from the config on its card "
            f"({_describe_error(error)}); get the checkpoint again"
        ) from error
    mismatch = find_mismatch(stored, expected)
    if mismatch is not None:
        name, stored_shape, expected_shape = mismatch
        raise UserError(
            f"checkpoint {checkpoint}: {name} is {stored_shape}; the network on its card expects "
            f"{expected_shape}: the card does not match the arrays, get the checkpoint again"
        )
    return objective


def _read_stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    try:
        size = (checkpoint / "state" / "_METADATA").stat().st_size
        if size > _MAX_BYTES:
            raise ValueError(f"{size:,} bytes of names and shapes")
        state = ocp.checkpointables_metadata(checkpoint.resolve()).metadata["state"]
        return array_shapes({name: state.get(name) or {} for name in ("params", "batch_stats")})
    except Exception as error:  # Orbax raises errors of any type for corrupt files
        raise UserError(
            f"checkpoint {checkpoint}: its metadata can't be read ({_describe_error(error)}); "
            "expected unchanged files: get the checkpoint again"
        ) from error


def _check_depth(card: ModelCard, num_arrays: int) -> None:
    """Check that a network has no more layers than arrays: building more could take hours."""
    for name, section in card.config.model.items():
        layers = (
            section.get("depth", 0)
            + section.get("layers", 0)
            + sum(section.get("stages", ()))
            + len(section.get("pool_scales", ()))
        )
        if layers > num_arrays:
            raise UserError(
                f"config.model.{name}: found {layers:,} layers, but the checkpoint has "
                f"{num_arrays:,} arrays; the card does not match the arrays, get the checkpoint "
                "again"
            )


def _describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
