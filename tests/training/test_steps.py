"""The compiled training step: its reductions over devices, and float16 with a loss scale."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_configs import make_small_config

from ssl_jax.devices.mesh import replicate, shard
from ssl_jax.metrics import to_host
from ssl_jax.runs import parts
from ssl_jax.runs.restoring import initialise_state
from ssl_jax.training.steps import make_train_step

KINDS = ("simclr", "mae", "classification", "segmentation")


def make_run(kind, data_dir, precision, accumulate=1, norm="group"):
    config = make_small_config(kind, data_dir)
    config.precision = precision
    config.objective.accumulate = accumulate
    config.batch_size = 16
    if kind == "classification":  # fine-tuned: all parameters have gradients
        config.objective.frozen = False
    if norm == "batch":
        config.model.backbone.norm = norm
    return parts.assemble_run(config)


def step_of(run):
    return make_train_step(run.objective, run.optimizer, run.schedule, run.mesh, run.config.seed)


def initial_state(run, scale):
    """The initial state on all devices; in float16 with this loss scale."""
    state = jax.jit(lambda key: initialise_state(run, key))(jax.random.key(run.config.seed))
    if state.loss_scale is not None:
        scale = jnp.asarray(scale, jnp.float32)
        state = state.replace(loss_scale=state.loss_scale.replace(scale=scale))
    return replicate(state, run.mesh)


def first_batch(run):
    return next(run.make_loader().batches(0))


def reductions(jaxpr, in_loop=False):
    """Yield (dtype, shape, whether within a loop) of each array that is summed over devices."""
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith(("psum", "all_reduce", "reduce_scatter")):
            yield from ((v.aval.dtype, v.aval.shape, in_loop) for v in equation.invars)
        inner = in_loop or equation.primitive.name in ("scan", "while")
        for parameter in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(parameter, "eqns") or hasattr(parameter, "jaxpr"):
                yield from reductions(getattr(parameter, "jaxpr", parameter), inner)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_gradient_is_reduced_once_in_float32_outside_of_loops(
    kind, precision, accumulate, data_dir
):
    run = make_run(kind, data_dir, precision, accumulate)
    state = jax.eval_shape(lambda: initialise_state(run, jax.random.key(0)))
    jaxpr = jax.make_jaxpr(step_of(run))(state, first_batch(run)).jaxpr
    found = list(reductions(jaxpr))
    assert all(dtype.itemsize >= 4 for dtype, _, _ in found)
    shapes = Counter(leaf.shape for leaf in jax.tree.leaves(state.params))
    reduced = Counter(shape for _, shape, in_loop in found if shape in shapes and not in_loop)
    assert reduced == shapes
    assert not [shape for _, shape, in_loop in found if in_loop and shape in shapes]


@pytest.mark.parametrize("kind", KINDS)
def test_float16_follows_float32(kind, data_dir):
    curves = {}
    for precision in ("float32", "float16"):
        run = make_run(kind, data_dir, precision)
        state, step = initial_state(run, 2.0**10), step_of(run)
        losses = []
        for batch in run.make_loader().batches(0):
            state, accumulators = step(state, shard(batch, run.mesh))
            losses.append(float(to_host(accumulators)["loss"].value))
        curves[precision] = losses
    np.testing.assert_allclose(curves["float16"], curves["float32"], rtol=1e-2)
    assert int(state.loss_scale.finite_steps) == run.steps


def test_an_overflow_leaves_everything_but_step_and_scale_as_it_was(data_dir):
    run = make_run("simclr", data_dir, "float16", norm="batch")
    state = initial_state(run, 2.0**126)
    before = jax.device_get(state)
    batch, step = shard(first_batch(run), run.mesh), step_of(run)
    state, accumulators = step(state, batch)
    after = jax.device_get(state)
    for name in ("params", "batch_stats", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(after, name))
    assert after.step == 1
    assert after.loss_scale.scale == 2.0**125
    assert after.loss_scale.overflows == 1
    host = to_host(accumulators)
    assert host["loss"].count == host["gradient_norm"].count == 0
    # With a scale that fits, the same state moves.
    fits = initial_state(run, 1.0).loss_scale
    state, accumulators = step(state.replace(loss_scale=fits), batch)
    assert to_host(accumulators)["loss"].count == 1
    assert jax.tree.leaves(state.batch_stats)
    assert not all(
        jax.tree.leaves(jax.tree.map(np.array_equal, before.params, jax.device_get(state.params)))
    )


def test_gradients_are_unscaled_before_the_optimizer_sees_them(data_dir):
    """The norm of the gradients doesn't depend on the loss scale."""
    run = make_run("mae", data_dir, "float16")
    step, batch, norms = step_of(run), shard(first_batch(run), run.mesh), []
    for scale in (2.0**4, 2.0**12):
        _, accumulators = step(initial_state(run, scale), batch)
        norms.append(float(to_host(accumulators)["gradient_norm"].value))
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_differ_only_in_seed_and_examples_share_their_programs(kind, data_dir):
    """JAX's compilation cache then has them for all runs of a study but the first."""
    texts = []
    for seed, train, rate in ((0, "train", 0.1), (1, "train[1:1]", 0.2)):
        config = make_small_config(kind, data_dir)
        config.seed, config.data.train, config.batch_size = seed, train, 8
        config.optimizer.learning_rate = rate
        run = parts.assemble_run(config)
        initialise = jax.jit(lambda key, run=run: initialise_state(run, key))
        step = step_of(run)
        state = jax.eval_shape(initialise, jax.random.key(seed))
        lowered = step.func.lower(*step.args, state, first_batch(run))
        texts.append((initialise.lower(jax.random.key(seed)).as_text(), lowered.as_text()))
    assert texts[0] == texts[1]
