"""Orbax bundles: `checkpoints/<step>/{state, data, card}`, saved asynchronously and atomically.

`state` is the pytree of the TrainState, `data` and `card` are JSON. Nothing is pickled; a bundle
can be read by plain `orbax.checkpoint.v1` without this package.
"""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import v1 as ocp

from data_pipelines.errors import UserError
from ssl_jax.mesh import REPLICATED
from ssl_jax.state import TrainState

__all__ = ["Bundles", "load_card", "load_state", "load_variables", "newest"]


def _context() -> ocp.Context:
    registry = ocp.handlers.local_registry()
    registry.add(ocp.handlers.JsonHandler, checkpointable_name="data")
    registry.add(ocp.handlers.JsonHandler, checkpointable_name="card")
    context = ocp.Context()
    context.checkpointables.registry = registry
    # Below this a slice per device costs more, to cut and to write, than it saves.
    context.array.saving.min_slice_bytes_for_replica_parallel = 16 * 2**20
    return context


class Bundles:
    """The bundles of a run, written in the background while training goes on.

    Use as a context manager: leaving it waits for the save under way.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._checkpointer = ocp.training.Checkpointer(
            directory.resolve(),
            context=_context(),
            preservation_policy=ocp.training.preservation_policies.LatestN(max(keep, 1)),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Bundles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """The step of the newest bundle, None when there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, state: TrainState, position: dict[str, Any], card: dict[str, Any]) -> None:
        """Start saving; returns once the state has been copied from the devices."""
        step = int(state.step)
        if step != self.latest:
            self._checkpointer.save_checkpointables_async(
                step, {"state": _as_dict(state), "data": position, "card": card}, force=True
            )


def _as_dict(state: TrainState) -> dict[str, Any]:
    return {
        "step": state.step,
        "params": state.params,
        "batch_stats": state.batch_stats,
        "opt_state": state.opt_state,
    }


def newest(path: Path) -> Path:
    """The newest bundle of a workdir, of its `checkpoints`, or the bundle itself.

    Raises:
        UserError: there is no bundle at `path`.
    """
    for folder in (path / "checkpoints", path):
        steps = [p for p in folder.glob("*") if p.name.isdigit() and _is_bundle(p)]
        if steps:
            return max(steps, key=lambda p: int(p.name))
    if _is_bundle(path):
        return path
    found = "no such folder" if not path.exists() else "no checkpoints/<step> with a card in it"
    raise UserError(
        f"{path} holds no checkpoint: {found}; expected the workdir of a run of "
        "`python -m ssl_jax.train`, or one of its checkpoints/<step> folders"
    )


def _is_bundle(path: Path) -> bool:
    return (path / "card").is_dir() and (path / "state").is_dir()


def load_card(path: Path) -> dict[str, Any]:
    """The model card of the bundle at `path` (see `newest`), as written."""
    bundle = newest(path).resolve()
    with _context():
        return ocp.load_checkpointables(bundle, {"card": None})["card"]


def load_state(path: Path, abstract: TrainState, mesh: Mesh) -> TrainState:
    """The state of a bundle, replicated on `mesh`, whatever devices it was written from.

    Args:
        path: a bundle, or a workdir of which the newest is taken.
        abstract: the shapes and dtypes expected.
        mesh: the mesh it shall live on.
    """
    tree = _replicated(_as_dict(abstract), mesh)
    with _context():
        loaded = ocp.load_checkpointables(newest(path).resolve(), {"state": tree})["state"]
    return TrainState(**loaded)


def load_variables(path: Path) -> dict[str, Any]:
    """`params` and `batch_stats` of a bundle as NumPy arrays, without the optimizer's state."""
    bundle = newest(path).resolve()
    with _context():
        metadata = ocp.checkpointables_metadata(bundle).metadata["state"]
        wanted = {
            name: jax.tree.map(_host_array, tree)
            if name in ("params", "batch_stats")
            else jax.tree.map(lambda _: ocp.PLACEHOLDER, tree)
            for name, tree in metadata.items()
        }
        loaded = ocp.load_checkpointables(bundle, {"state": wanted})["state"]
    return {"params": loaded["params"], "batch_stats": loaded["batch_stats"]}


def _replicated(tree: Any, mesh: Mesh) -> Any:
    sharding = NamedSharding(mesh, REPLICATED)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _host_array(leaf: Any) -> Any:
    import numpy as np

    return np.empty(leaf.shape, leaf.dtype)
