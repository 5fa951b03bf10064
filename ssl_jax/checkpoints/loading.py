"""Finding the newest sound checkpoint, and loading its state, its card or its variables."""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import v1 as ocp

from data_pipelines.errors import UserError
from ssl_jax.checkpoints.manifest import find_corruption, is_complete
from ssl_jax.devices.mesh import REPLICATED
from ssl_jax.training.state import TrainState

__all__ = [
    "find_newest_checkpoint",
    "find_valid_checkpoints",
    "list_checkpoints",
    "load_card",
    "load_position",
    "load_state",
    "load_variables",
    "orbax_context",
    "state_to_dict",
]


def find_newest_checkpoint(path: Path) -> Path:
    """The newest sound bundle of a workdir, of its `checkpoints`, or the bundle itself.

    Damaged ones are named on stderr.

    Raises:
        UserError: there is no bundle at `path`, or none that is sound.
    """
    for folder in (path / "checkpoints", path):
        if checkpoint := next(find_valid_checkpoints(folder), None):
            return checkpoint
    if _is_bundle(path):
        if problem := is_complete(path) and find_corruption(path):
            raise UserError(
                f"bundle {path}: is damaged ({problem}); expected it as it was written: copy it "
                "again, or take another"
            )
        return path
    damaged = any(list_checkpoints(folder) for folder in (path / "checkpoints", path))
    found = (
        "no such folder"
        if not path.exists()
        else "all of its bundles are damaged"
        if damaged
        else "no checkpoints/<step> with a card in it"
    )
    raise UserError(
        f"{path} holds no checkpoint: {found}; expected the workdir of a run of "
        "`python -m ssl_jax.train`, or one of its checkpoints/<step> folders"
    )


def find_valid_checkpoints(directory: Path) -> Iterator[Path]:
    """Sound bundles of a directory, the newest first; what is damaged is named on stderr.

    One that was never sealed counts only where none is: a process was killed in the moment between,
    or somebody broke off copying it.
    """
    checkpoints = list_checkpoints(directory)
    for checkpoint in checkpoints:
        if not is_complete(checkpoint):
            continue
        problem = find_corruption(checkpoint)
        if not problem:
            yield checkpoint
        else:
            _warn(f"bundle {checkpoint} is damaged: {problem}; not used")
    if not any(is_complete(checkpoint) for checkpoint in checkpoints):
        yield from checkpoints


@functools.cache  # once in a process
def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def list_checkpoints(directory: Path) -> list[Path]:
    """Whatever looks like a bundle, the newest first."""
    steps = [path for path in directory.glob("*") if path.name.isdigit() and _is_bundle(path)]
    return sorted(steps, key=lambda path: int(path.name), reverse=True)


def _is_bundle(path: Path) -> bool:
    return (path / "card").is_dir() and (path / "state").is_dir()


def load_card(path: Path) -> dict[str, Any]:
    """The model card of the bundle at `path` (see `find_newest_checkpoint`), as written."""
    return _load_json(path, "card")


def load_position(path: Path) -> dict[str, Any]:
    """Where in the data and in its log the run stood when the bundle at `path` was written."""
    return _load_json(path, "data")


def _load_json(path: Path, name: str) -> dict[str, Any]:
    checkpoint = find_newest_checkpoint(path).resolve()
    with orbax_context():
        return ocp.load_checkpointables(checkpoint, {name: None})[name]


def load_state(path: Path, abstract: TrainState, mesh: Mesh) -> TrainState:
    """The state of a bundle, replicated on `mesh`, whatever devices it was written from.

    Args:
        path: a bundle, or a workdir of which the newest is taken.
        abstract: the shapes and dtypes expected.
        mesh: the mesh it shall live on.
    """
    tree = _replicated(state_to_dict(abstract), mesh)
    with orbax_context():
        loaded = ocp.load_checkpointables(find_newest_checkpoint(path).resolve(), {"state": tree})[
            "state"
        ]
    return TrainState(**loaded)


def load_variables(path: Path) -> dict[str, Any]:
    """`params` and `batch_stats` of a bundle as NumPy arrays, without the optimizer's state."""
    checkpoint = find_newest_checkpoint(path).resolve()
    with orbax_context():
        metadata = ocp.checkpointables_metadata(checkpoint).metadata["state"]
        wanted = {
            name: jax.tree.map(_host_array, tree)
            if name in ("params", "batch_stats")
            else jax.tree.map(lambda _: ocp.PLACEHOLDER, tree)
            for name, tree in metadata.items()
        }
        loaded = ocp.load_checkpointables(checkpoint, {"state": wanted})["state"]
    return {"params": loaded["params"], "batch_stats": loaded["batch_stats"]}


def _replicated(tree: Any, mesh: Mesh) -> Any:
    sharding = NamedSharding(mesh, REPLICATED)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _host_array(leaf: Any) -> np.ndarray:
    return np.empty(leaf.shape, leaf.dtype)


def orbax_context() -> ocp.Context:
    """Orbax's context in which checkpoints are saved and loaded."""
    registry = ocp.handlers.local_registry()
    registry.add(ocp.handlers.JsonHandler, checkpointable_name="data")
    registry.add(ocp.handlers.JsonHandler, checkpointable_name="card")
    context = ocp.Context()
    context.checkpointables.registry = registry
    # Below this a slice per device costs more, to cut and to write, than it saves.
    context.array.saving.min_slice_bytes_for_replica_parallel = 16 * 2**20
    return context


def state_to_dict(state: TrainState) -> dict[str, Any]:
    """A state as it is stored."""
    return {
        "step": state.step,
        "params": state.params,
        "batch_stats": state.batch_stats,
        "opt_state": state.opt_state,
    }
