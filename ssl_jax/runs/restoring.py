"""Where a run starts: its newest checkpoint, a pretrained backbone, or random weights."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading, saving
from ssl_jax.devices.mesh import jit_for_single_use, replicate
from ssl_jax.runs.parts import Run
from ssl_jax.training.state import TrainState

__all__ = ["restore_or_initialise"]


def restore_or_initialise(
    run: Run, checkpoints: saving.Checkpointer
) -> tuple[TrainState, dict[str, Any]]:
    """State and position of the newest sound bundle, with its figures, or the initial ones.

    At first the backbone is that of `config.pretrained`, if there is one.
    """

    def initial_state() -> TrainState:
        example = {name: np.asarray(value)[None] for name, value in run.source[0].items()}
        variables = run.objective.init(jax.random.key(run.config.seed), example)
        return TrainState(
            step=jax.numpy.zeros((), jax.numpy.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=run.optimizer.init(variables["params"]),
        )

    if (checkpoint := checkpoints.newest) is not None:
        state = loading.load_state(checkpoint, jax.eval_shape(initial_state), run.mesh)
        return state, {
            **loading.load_position(checkpoint),
            "metrics": loading.load_card(checkpoint)["metrics"],
        }
    state = jit_for_single_use(initial_state)()
    if run.config.pretrained:
        state = load_pretrained_backbone(state, run)
    return replicate(state, run.mesh), {"carried": {}, "metrics": {}}


def load_pretrained_backbone(state: TrainState, run: Run) -> TrainState:
    """`state` with the backbone of the bundle at `config.pretrained` in place of its own.

    A final norm that was fitted to other tokens is left as it starts: where the patches' mean is
    pooled in place of the class token, facebookresearch/mae drops `norm` and has a new `fc_norm`.

    Raises:
        UserError: that bundle's backbone is another network.
    """
    path = Path(run.config.pretrained)
    variables = loading.load_variables(path)
    network = loading.load_card(path)["config"]["model"]["backbone"]
    pools = [section.get("pool", "cls") for section in (network, run.config.model.backbone)]

    def put(own: dict[str, Any], collection: str) -> dict[str, Any]:
        if "backbone" not in own:
            return own
        there = variables[collection].get("backbone", {})
        shapes = [jax.tree.map(np.shape, tree) for tree in (own["backbone"], there)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"config.model.backbone: is not the network of {path}, which was trained with "
                f"{network}; expected the same"
            )
        fresh = {"norm": own["backbone"]["norm"]} if pools[0] != pools[1] else {}
        return {**own, "backbone": {**there, **fresh}}

    return state.replace(
        params=put(state.params, "params"), batch_stats=put(state.batch_stats, "batch_stats")
    )
