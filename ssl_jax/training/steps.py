"""The compiled steps: one of training, and one of an evaluation."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmap_over_mesh
from ssl_jax.metrics import Accumulators, Mean, reduce_over_devices
from ssl_jax.objectives import Objective
from ssl_jax.training.loss_scaling import all_finite
from ssl_jax.training.schedules import Schedule
from ssl_jax.training.state import TrainState

__all__ = ["EvaluationStep", "TrainStep", "make_evaluation_step", "make_train_step"]

TrainStep = Callable[[TrainState, Any], tuple[TrainState, dict[str, Mean]]]
EvaluationStep = Callable[[Any, Any], Accumulators]


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: Schedule,
    mesh: Mesh,
    seed: int,
) -> TrainStep:
    """Make the compiled training step.

    Its randomness follows from the seed, the step and each example's index only. Seed and schedule
    are arguments of the program: runs that differ only in them compile it once, as JAX's persistent
    cache finds it again.

    Args:
        objective: Computes the loss.
        optimizer: Updates the parameters.
        schedule: The learning rate by step.
        mesh: The devices.
        seed: The seed of the run.

    Returns:
        A function (state, batch) -> (new state, metric accumulators). The state is replicated and
        donated, the batch is sharded over `data`. If the state has a loss scale and a gradient is
        not finite, only the step number and the scale are new, on all devices alike, and the
        accumulators have counts of zero.
    """

    def train_step(
        seed_key: Any, schedule: Schedule, state: TrainState, batch: Any
    ) -> tuple[TrainState, dict[str, Mean]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(seed_key), state.step)
        gradients, loss, aux = _compute_gradients(objective, state, batch, key)
        updates, opt_state = optimizer.update(
            gradients, state.opt_state, state.params, schedule=schedule
        )
        new_state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=aux["batch_stats"],
            opt_state=opt_state,
            loss_scale=state.loss_scale,
        )
        accumulators = {
            **reduce_over_devices(aux["accumulators"]),
            "loss": Mean.from_values(loss),
            "gradient_norm": Mean.from_values(optax.global_norm(gradients)),
            "learning_rate": Mean.from_values(schedule(state.step)),
        }
        if state.loss_scale is None:
            return new_state, accumulators
        return _skip_overflow(state, new_state, accumulators, all_finite(gradients))

    inputs = (REPLICATED, REPLICATED, REPLICATED, SHARDED)
    compiled = pmap_over_mesh(train_step, mesh, inputs, (REPLICATED, REPLICATED), donate=(2,))
    # An array of the host is the same on all processes of a job.
    seed_key = np.asarray(jax.random.key_data(jax.random.key(seed)))
    return functools.partial(compiled, seed_key, schedule)


def _compute_gradients(
    objective: Objective, state: TrainState, batch: Any, key: jax.Array
) -> tuple[Any, jax.Array, dict[str, Any]]:
    """Compute the gradients of the mean loss over the devices, that loss, and the objective's aux.

    The gradients are float32, summed over the devices, and not scaled.
    """
    scale = 1.0 if state.loss_scale is None else state.loss_scale.scale

    def loss_fn(params: Any) -> tuple[jax.Array, Any]:
        # The transpose of this cast sums the gradients over the devices: here, where they are
        # float32 and outside of all loops, that happens once. Left to JAX, the cast would follow
        # a network's own cast to bfloat16, in every micro-batch. No reduction may follow.
        params = jax.tree.map(lambda x: jax.lax.pcast(x, "data", to="varying"), params)
        variables = {"params": params, "batch_stats": state.batch_stats}
        loss, aux = objective.loss(variables, batch, key)
        loss = jax.lax.pmean(loss, "data")
        return loss * scale, (loss, aux)

    gradients, (loss, aux) = jax.grad(loss_fn, has_aux=True)(state.params)
    if state.loss_scale is not None:
        gradients = jax.tree.map(lambda gradient: gradient / scale, gradients)
    return gradients, loss, aux


def _skip_overflow(
    state: TrainState, new_state: TrainState, accumulators: dict[str, Mean], finite: jax.Array
) -> tuple[TrainState, dict[str, Mean]]:
    """Return the old state and empty accumulators unless `finite`, and the next loss scale."""
    assert state.loss_scale is not None
    loss_scale = state.loss_scale.update(finite)
    chosen = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new_state, state)
    counted = jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), accumulators)
    return chosen.replace(step=state.step + 1, loss_scale=loss_scale), {
        **counted,
        "loss_scale": Mean.from_values(loss_scale.scale),
        "overflows": Mean.from_values(loss_scale.overflows),
    }


def make_evaluation_step(objective: Objective, mesh: Mesh) -> EvaluationStep:
    """Make the compiled evaluation of a batch.

    Args:
        objective: Computes the metric accumulators.
        mesh: The devices.

    Returns:
        A function (variables, batch) -> metric accumulators. The variables are replicated, the
        batch is sharded over `data`.
    """

    def evaluation_step(variables: Any, batch: Any) -> Accumulators:
        return reduce_over_devices(objective.evaluate(variables, batch))

    return pmap_over_mesh(evaluation_step, mesh, (REPLICATED, SHARDED), REPLICATED)
