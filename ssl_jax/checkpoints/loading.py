"""Loading the state, the card or the variables of a checkpoint."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import v1 as ocp

from ssl_jax.checkpoints.finding import find_newest_checkpoint
from ssl_jax.devices.mesh import REPLICATED, replicate
from ssl_jax.devices.processes import decide
from ssl_jax.devices.pytrees import parameter_path
from ssl_jax.training.loss_scaling import LossScale
from ssl_jax.training.state import TrainState

__all__ = [
    "compute_backbone_digest",
    "decide_checkpoint",
    "load_card",
    "load_position",
    "load_state",
    "load_variables",
    "orbax_context",
    "state_to_dict",
]


def decide_checkpoint(path: Path) -> Path:
    """Find the newest checkpoint at `path` on the first process of the job, for all of them.

    Raises:
        UserError: If there is no valid checkpoint.
    """
    return Path(decide(lambda: str(find_newest_checkpoint(path))))


def load_card(path: Path) -> dict[str, Any]:
    """Load the model card of the newest checkpoint at `path`, unchecked.

    Raises:
        UserError: If there is no valid checkpoint.
    """
    return _load_json(path, "card")


def load_position(path: Path) -> dict[str, Any]:
    """Load the position in the data and the log of the newest checkpoint at `path`.

    Raises:
        UserError: If there is no valid checkpoint.
    """
    return _load_json(path, "data")


def _load_json(path: Path, name: str) -> dict[str, Any]:
    # Not through Orbax, where all processes of a job have to load together.
    return json.loads((find_newest_checkpoint(path) / name / "data.json").read_text())


def load_state(path: Path, abstract: TrainState, mesh: Mesh) -> TrainState:
    """Load the state of a checkpoint, which may have been saved from other devices.

    Args:
        path: A checkpoint, or a workdir, whose newest checkpoint is loaded.
        abstract: The state's shapes and dtypes.
        mesh: The mesh to replicate the state over.

    Raises:
        UserError: If there is no valid checkpoint.
    """
    checkpoint = find_newest_checkpoint(path).resolve()
    expected = _add_sharding(state_to_dict(abstract), mesh)
    with orbax_context():
        stored = ocp.checkpointables_metadata(checkpoint).metadata["state"]
        # The loss scale comes and goes with the precision, which may depend on the devices.
        if "loss_scale" not in stored:
            expected.pop("loss_scale", None)
        elif "loss_scale" not in expected:
            expected["loss_scale"] = jax.tree.map(lambda _: ocp.PLACEHOLDER, stored["loss_scale"])
        loaded = ocp.load_checkpointables(checkpoint, {"state": expected})["state"]
    scale = loaded.pop("loss_scale", None)
    if abstract.loss_scale is None:
        return TrainState(**loaded)
    return TrainState(
        **loaded, loss_scale=LossScale(**scale) if scale else replicate(LossScale.create(), mesh)
    )


def load_variables(path: Path) -> dict[str, Any]:
    """Load `params` and `batch_stats` of a checkpoint as NumPy arrays, not the optimizer state.

    All processes of a job must call it.

    Args:
        path: A checkpoint, or a workdir, whose newest checkpoint is loaded.

    Raises:
        UserError: If there is no valid checkpoint.
    """
    checkpoint = find_newest_checkpoint(path).resolve()
    with orbax_context():
        metadata = ocp.checkpointables_metadata(checkpoint).metadata["state"]
        abstract = {
            name: jax.tree.map(_empty_array, tree)
            if name in ("params", "batch_stats")
            else jax.tree.map(lambda _: ocp.PLACEHOLDER, tree)
            for name, tree in metadata.items()
        }
        loaded = ocp.load_checkpointables(checkpoint, {"state": abstract})["state"]
    return {"params": loaded["params"], "batch_stats": loaded["batch_stats"]}


def compute_backbone_digest(path: Path) -> str:
    """Compute a digest of the backbone in the newest checkpoint at `path`.

    All processes of a job must call it.

    Returns:
        A hexadecimal number that is the same for the same arrays under the same names.

    Raises:
        UserError: If there is no valid checkpoint.
    """
    checkpoint = decide_checkpoint(path).resolve()
    modified = decide(lambda: (checkpoint / "state").stat().st_mtime_ns)
    return _compute_backbone_digest(checkpoint, modified)


@functools.lru_cache(maxsize=64)  # the runs of a study start from a few backbones
def _compute_backbone_digest(checkpoint: Path, modified: int) -> str:
    digest = hashlib.sha256()
    for collection, tree in load_variables(checkpoint).items():
        leaves = jax.tree_util.tree_leaves_with_path(tree.get("backbone", {}))
        for leaf_path, leaf in leaves:
            name = f"{collection}/{parameter_path(leaf_path)} {leaf.dtype} {leaf.shape}"
            digest.update(name.encode())
            digest.update(leaf.tobytes())
    return digest.hexdigest()[:16]


def _add_sharding(tree: Any, mesh: Mesh) -> Any:
    """Convert arrays to their shapes and dtypes, replicated over the mesh."""
    sharding = NamedSharding(mesh, REPLICATED)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _empty_array(leaf: Any) -> np.ndarray:
    return np.empty(leaf.shape, leaf.dtype)


def orbax_context() -> ocp.Context:
    """Return the Orbax context in which checkpoints are saved and loaded.

    All processes of a job must save and load the same checkpoints in the same order: Orbax counts
    the operations, and waits for all processes in each.
    """
    registry = ocp.handlers.local_registry()
    registry.add(ocp.handlers.JsonHandler, checkpointable_name="data")
    registry.add(ocp.handlers.JsonHandler, checkpointable_name="card")
    context = ocp.Context()
    context.checkpointables.registry = registry
    # Slicing smaller arrays over the devices, and writing the slices, takes longer than it saves.
    context.array.saving.min_slice_bytes_for_replica_parallel = 16 * 2**20
    return context


def state_to_dict(state: TrainState) -> dict[str, Any]:
    """Convert a state to the pytree that is stored."""
    stored = {
        "step": state.step,
        "params": state.params,
        "batch_stats": state.batch_stats,
        "opt_state": state.opt_state,
    }
    if state.loss_scale is not None:
        stored["loss_scale"] = dataclasses.asdict(state.loss_scale)
    return stored
