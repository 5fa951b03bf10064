"""Orbax bundles: `checkpoints/<step>/{state, data, card}`, saved asynchronously and atomically.

`state` is the pytree of the TrainState, `data` and `card` are JSON. Nothing is pickled; a bundle
can be read by plain `orbax.checkpoint.v1` without this package. A finished bundle is sealed (see
`ssl_jax.checkpoints.seal`), and only when its successor is sealed is an old one deleted.
"""

import contextlib
import functools
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import v1 as ocp

from data_pipelines.errors import UNWRITABLE, UserError, system_says
from ssl_jax.checkpoints.orbax_threads import quiet
from ssl_jax.checkpoints.seal import damage, is_sealed, replace_file, seal
from ssl_jax.devices.mesh import REPLICATED
from ssl_jax.devices.processes import gathered
from ssl_jax.training.state import TrainState

__all__ = [
    "Bundles",
    "load_card",
    "load_position",
    "load_state",
    "load_variables",
    "newest",
]


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

    Use as a context manager: leaving it waits for the save under way. In a job of several processes
    all must save at the same steps; the first one seals and deletes.

    Args:
        directory: of the bundles, `checkpoints` in a workdir.
        keep: how many sound ones are kept, the newest.

    """

    def __init__(self, directory: Path, keep: int) -> None:
        quiet()
        self._directory = directory.resolve()
        self._keep = max(keep, 1)
        self._leads = jax.process_index() == 0
        self._saved: int | None = None  # the newest step saved by this process
        self._sealing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> "Bundles":
        if self._leads:
            with _told(self._directory):
                self._directory.mkdir(parents=True, exist_ok=True)
                for leftover in self._directory.glob("*.orbax-checkpoint-tmp*"):
                    shutil.rmtree(leftover)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wait()

    @property
    def newest(self) -> Path | None:
        """The newest sound bundle; None when there is none. The same one on all processes."""
        found = next(_sound_bundles(self._directory), None) if self._leads else None
        name = gathered(found and found.name)[0]  # as the first process sees it
        return None if name is None else self._directory / name

    def save(self, state: TrainState, position: dict[str, Any], card: dict[str, Any]) -> None:
        """Start saving; returns once the state has been copied from the devices.

        Raises:
            UserError: this bundle or the one before can't be written.
        """
        step = int(state.step)
        if step == self._saved:
            return
        self.wait()
        bundle = self._directory / str(step)
        if is_sealed(bundle) and not damage(bundle):  # restored from it, and no step further
            text = json.dumps(card)
            if self._leads and json.dumps(load_card(bundle)) != text:  # it was evaluated since
                with _told(bundle):
                    replace_file(bundle, "card/data.json", text)
            self._saved = step
            return
        with _told(bundle), _context():
            response = ocp.save_checkpointables_async(
                bundle,
                {"state": _as_dict(state), "data": position, "card": card},
                overwrite=True,  # of a damaged bundle of that step
            )
        self._saved = step
        self._sealing = threading.Thread(target=self._seal, args=(response, bundle))
        self._sealing.start()

    def wait(self) -> None:
        """Wait for the save under way.

        Raises:
            UserError: it can't be written.
        """
        if self._sealing is not None:
            self._sealing.join()
            self._sealing = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            with _told(self._directory / str(self._saved)):
                raise failure

    def _seal(self, response: Any, bundle: Path) -> None:
        try:
            response.result()
            if self._leads:
                seal(bundle)
                self._delete_old()
        except BaseException as failure:
            self._failure = failure

    def _delete_old(self) -> None:
        sealed = [bundle for bundle in _bundles(self._directory) if is_sealed(bundle)]
        if len(sealed) > self._keep:
            oldest_kept = int(sealed[self._keep - 1].name)
            for bundle in _bundles(self._directory):
                if int(bundle.name) < oldest_kept:
                    shutil.rmtree(bundle)


@contextlib.contextmanager
def _told(bundle: Path) -> Iterator[None]:
    """A disk that is full or can't be written, told in one line.

    Raises:
        UserError: it is.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if not reason:
            raise
        sound = next(_sound_bundles(bundle.parent), None)
        left = f"the newest sound one is {sound}" if sound else "there is none yet"
        raise UserError(
            f"bundle {bundle}: can't be written ({reason}); {left}: make room or choose another "
            "--workdir, then the same command goes on"
        ) from error


def _reason(error: BaseException) -> str:
    """What the system said, if an error is about a file."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return system_says(error, UNWRITABLE)


def _as_dict(state: TrainState) -> dict[str, Any]:
    return {
        "step": state.step,
        "params": state.params,
        "batch_stats": state.batch_stats,
        "opt_state": state.opt_state,
    }


def newest(path: Path) -> Path:
    """The newest sound bundle of a workdir, of its `checkpoints`, or the bundle itself.

    Damaged ones are named on stderr.

    Raises:
        UserError: there is no bundle at `path`, or none that is sound.
    """
    for folder in (path / "checkpoints", path):
        if bundle := next(_sound_bundles(folder), None):
            return bundle
    if _is_bundle(path):
        if problem := is_sealed(path) and damage(path):
            raise UserError(
                f"bundle {path}: is damaged ({problem}); expected it as it was written: copy it "
                "again, or take another"
            )
        return path
    damaged = any(_bundles(folder) for folder in (path / "checkpoints", path))
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


def _sound_bundles(directory: Path) -> Iterator[Path]:
    """Sound bundles of a directory, the newest first; what is damaged is named on stderr.

    One that was never sealed counts only where none is: a process was killed in the moment between,
    or somebody broke off copying it.
    """
    bundles = _bundles(directory)
    for bundle in bundles:
        if not is_sealed(bundle):
            continue
        problem = damage(bundle)
        if not problem:
            yield bundle
        else:
            _warn(f"bundle {bundle} is damaged: {problem}; not used")
    if not any(is_sealed(bundle) for bundle in bundles):
        yield from bundles


@functools.cache  # once in a process
def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _bundles(directory: Path) -> list[Path]:
    """Whatever looks like a bundle, the newest first."""
    steps = [path for path in directory.glob("*") if path.name.isdigit() and _is_bundle(path)]
    return sorted(steps, key=lambda path: int(path.name), reverse=True)


def _is_bundle(path: Path) -> bool:
    return (path / "card").is_dir() and (path / "state").is_dir()


def load_card(path: Path) -> dict[str, Any]:
    """The model card of the bundle at `path` (see `newest`), as written."""
    return _load_json(path, "card")


def load_position(path: Path) -> dict[str, Any]:
    """Where in the data and in its log the run stood when the bundle at `path` was written."""
    return _load_json(path, "data")


def _load_json(path: Path, name: str) -> dict[str, Any]:
    bundle = newest(path).resolve()
    with _context():
        return ocp.load_checkpointables(bundle, {name: None})[name]


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


def _host_array(leaf: Any) -> np.ndarray:
    return np.empty(leaf.shape, leaf.dtype)
