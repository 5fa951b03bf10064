"""The first state of a run: restored from a checkpoint, with a pretrained backbone, or random."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading, saving
from ssl_jax.devices.mesh import jit_for_single_use, replicate
from ssl_jax.devices.processes import decide
from ssl_jax.runs.parts import Run
from ssl_jax.training.loss_scaling import LossScale
from ssl_jax.training.state import TrainState

__all__ = ["initialise_state", "restore_or_initialise"]


def restore_or_initialise(
    run: Run, checkpoints: saving.Checkpointer
) -> tuple[TrainState, dict[str, Any]]:
    """Restore the newest valid checkpoint of a run, or initialise its state.

    A new state has the backbone of the checkpoint at `config.pretrained`, if the config names one.

    Args:
        run: The run.
        checkpoints: The checkpoints of its workdir.

    Returns:
        The state, replicated over the run's mesh, and its position: `carried`, the metrics
        accumulated since the last log record, `metrics`, those of the last evaluation, and, if it
        was restored, the other items of the checkpoint's `data`.

    Raises:
        UserError: If the pretrained backbone is a different network.
    """
    key = jax.random.key(run.config.seed)
    if (checkpoint := checkpoints.newest) is not None:
        state = loading.load_state(
            checkpoint, jax.eval_shape(partial(initialise_state, run), key), run.mesh
        )
        return state, decide(partial(_load_position, checkpoint))
    state = jit_for_single_use(partial(initialise_state, run))(key)
    if run.config.pretrained:
        state = load_pretrained_backbone(state, run)
    return replicate(state, run.mesh), {"carried": {}, "metrics": {}}


def _load_position(checkpoint: Path) -> dict[str, Any]:
    metrics = loading.load_card(checkpoint)["metrics"]
    return {**loading.load_position(checkpoint), "metrics": metrics}


def initialise_state(run: Run, key: jax.Array) -> TrainState:
    """Initialise the state of a run from a random key.

    Runs that differ only in their seed and examples share the program of this function.
    """
    # Only the shape of an example matters.
    example = {name: np.zeros_like(value)[None] for name, value in run.source[0].items()}
    variables = run.objective.init(key, example)
    loss_scale = LossScale.create() if run.precision.scales_loss else None
    return TrainState.create(variables, run.optimizer, loss_scale)


def load_pretrained_backbone(state: TrainState, run: Run) -> TrainState:
    """Replace the backbone of a state by that of the checkpoint at `config.pretrained`.

    If the two backbones pool differently, the final norm keeps its initial values, as it was fitted
    to other tokens: where the mean of the patches is pooled instead of the class token,
    facebookresearch/mae drops `norm` and has a new `fc_norm`.

    Raises:
        UserError: If the checkpoint's backbone is a different network.
    """
    pretrained_from = Path(run.config.pretrained)
    checkpoint = loading.decide_checkpoint(pretrained_from)
    variables = loading.load_variables(checkpoint)
    network = loading.load_card(checkpoint)["config"]["model"]["backbone"]
    pools = [section.get("pool", "cls") for section in (network, run.config.model.backbone)]

    def replace_backbone(own: dict[str, Any], collection: str) -> dict[str, Any]:
        if "backbone" not in own:
            return own
        pretrained = variables[collection].get("backbone", {})
        shapes = [jax.tree.map(np.shape, tree) for tree in (own["backbone"], pretrained)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"config.model.backbone: found a different network than that of {pretrained_from}; "
                f"expected the same as it was trained with: {network}"
            )
        initial = {"norm": own["backbone"]["norm"]} if pools[0] != pools[1] else {}
        return {**own, "backbone": {**pretrained, **initial}}

    return state.replace(
        params=replace_backbone(state.params, "params"),
        batch_stats=replace_backbone(state.batch_stats, "batch_stats"),
    )
