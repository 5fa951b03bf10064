"""Properties of every objective."""

import jax
import numpy as np
import pytest

from data_pipelines.errors import UserError
from ssl_jax.metrics import PerExample

OBJECTIVES = {
    "simclr": ("simclr", {}),
    "mae": ("mae", {}),
    "fine-tuned": ("classification", {}),
    "frozen": ("classification", {"frozen": True}),
    "multi-label": ("classification", {"multi_label": True}),
    "segmentation": ("segmentation", {}),
}
accumulating = pytest.mark.parametrize(
    ("name", "options"), [OBJECTIVES[k] for k in ("simclr", "mae", "fine-tuned", "segmentation")]
)
every_objective = pytest.mark.parametrize(
    ("name", "options"), OBJECTIVES.values(), ids=list(OBJECTIVES)
)


def assert_same(first, second, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), first, second
    )


@every_objective
def test_one_device_and_eight_give_the_same_step(lab, name, options):
    objective, batch = lab.make_objective(name, **options), lab.draw_batch()
    variables = lab.init(objective, batch)
    one = lab.compute_gradient(objective, variables, batch, devices=1)
    eight = lab.compute_gradient(objective, variables, batch, devices=8)
    assert_same(one, eight)
    assert np.isfinite(one[0])
    assert any(np.abs(g).max() > 1e-4 for g in jax.tree.leaves(one[1]))
    assert jax.tree.structure(one[2]) == jax.tree.structure(variables["batch_stats"])


@accumulating
def test_accumulated_gradients_equal_those_of_the_large_batch(lab, name, options):
    batch = lab.draw_batch()
    objective = lab.make_objective(name, norm=False, **options)
    variables = lab.init(objective, batch)
    expected = lab.compute_gradient(objective, variables, batch, devices=1)
    accumulating = lab.make_objective(name, norm=False, accumulate=2, **options)
    assert_same(expected, lab.compute_gradient(accumulating, variables, batch, devices=8))


def test_accumulation_with_batch_norm_does_not_depend_on_the_devices(lab):
    objective, batch = lab.make_objective("simclr", accumulate=2), lab.draw_batch()
    variables = lab.init(objective, batch)
    one, eight = (lab.compute_gradient(objective, variables, batch, devices) for devices in (1, 8))
    assert_same(one, eight)
    before = variables["batch_stats"]["backbone"]["BatchNorm_0"]["mean"]
    assert np.abs(one[2]["backbone"]["BatchNorm_0"]["mean"] - before).max() > 1e-4


def test_a_batch_that_cannot_be_split_is_an_error(lab):
    objective, batch = lab.make_objective("mae", accumulate=3), lab.draw_batch()
    variables = lab.init(objective, batch)
    with pytest.raises(UserError, match="found 16 examples per device for 3 micro-batches"):
        lab.compute_gradient(objective, variables, batch)


@every_objective
def test_evaluation_does_not_depend_on_the_devices_and_ignores_padding(lab, name, options):
    objective, batch = lab.make_objective(name, **options), lab.draw_batch(13)
    variables = lab.init(objective, batch)
    padded = {k: np.concatenate([v, v[:3]]) for k, v in batch.items()}
    padded["valid"][13:] = False
    accumulators = [
        lab.evaluate(objective, variables, batch, 1),
        lab.evaluate(objective, variables, padded, 8),
    ]
    metrics = [objective.compute_metrics(s) for s in accumulators]
    assert_same(metrics[0], metrics[1], 1e-4)
    assert all(isinstance(v, float) for v in metrics[0].values())
    rows = accumulators[1].get("predictions")
    assert not isinstance(rows, PerExample) or rows.values["valid"].sum() == 13


@every_objective
def test_variables_depend_only_on_shapes_and_randomness_only_on_indices(lab, name, options):
    objective, batch = lab.make_objective(name, **options), lab.draw_batch()
    variables = lab.init(objective, batch)
    shapes = jax.eval_shape(objective.init, jax.random.key(0), batch)
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
    order = np.random.default_rng(1).permutation(16)
    shuffled = {k: v[order] for k, v in batch.items()}
    first, second = (lab.compute_gradient(objective, variables, b) for b in (batch, shuffled))
    assert_same(first, second, 1e-4)


@every_objective
def test_samples_and_predictions_do_not_need_a_mesh(lab, name, options):
    objective, batch = lab.make_objective(name, **options), lab.draw_batch()
    variables = lab.init(objective, batch)
    samples = jax.jit(objective.make_samples)(variables, batch, jax.random.key(0))
    assert all(len(v) == 16 for v in samples.values())
    image = np.asarray(samples["image"])
    assert image.min() >= 0
    assert image.max() <= 1
    assert len(jax.jit(objective.predict)(variables, batch["image"])) == 16
