import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.errors import UserError
from ssl_jax.training import optimizers, schedules
from ssl_jax.training.optimizers import ParameterGroup, assign_groups

PARAMS = {
    "backbone": {
        "patch_embed": {"kernel": np.full((3, 4), 0.5), "bias": np.full(4, 0.3)},
        "cls_token": np.full((1, 1, 4), 0.1),
        "blocks_0": {"norm1": {"scale": np.ones(4)}, "mlp": {"kernel": np.full((4, 4), 0.2)}},
        "blocks_1": {"norm1": {"scale": np.ones(4)}, "mlp": {"kernel": np.full((4, 4), 0.4)}},
        "norm": {"scale": np.ones(4), "bias": np.zeros(4)},
    },
    "head": {"kernel": np.full((4, 2), 0.7), "bias": np.zeros(2)},
}


def apply_updates(optimizer, params, steps, rate, seed=0):
    """Update parameters with random gradients from a seed at a learning rate; return both."""
    rng = np.random.default_rng(seed)
    leaves = {"w": jnp.asarray(params["w"]), "bias": jnp.asarray(params["bias"])}
    gradients = [{k: rng.normal(size=v.shape) for k, v in params.items()} for _ in range(steps)]
    state = optimizer.init(leaves)
    for gradient in gradients:
        updates, state = optimizer.update(
            {k: jnp.asarray(v, jnp.float32) for k, v in gradient.items()},
            state,
            leaves,
            schedule=lambda step: rate,
        )
        leaves = {k: leaves[k] + updates[k] for k in leaves}
    return leaves, gradients


@pytest.fixture
def params():
    rng = np.random.default_rng(1)
    return {"w": rng.normal(size=(3, 2)).astype(np.float32), "bias": np.ones(2, np.float32)}


def test_layer_decay_assigns_each_parameter_of_a_vit_to_one_group():
    groups = optimizers.layer_decay_groups(0.5, depth=2)
    assigned = assign_groups(PARAMS, groups)
    assert assigned["backbone"]["patch_embed"]["kernel"].scale == pytest.approx(0.5**3)
    assert assigned["backbone"]["cls_token"].scale == pytest.approx(0.5**3)
    assert assigned["backbone"]["blocks_0"]["mlp"]["kernel"].scale == pytest.approx(0.5**2)
    assert assigned["backbone"]["blocks_1"]["norm1"]["scale"].scale == pytest.approx(0.5)
    assert assigned["backbone"]["norm"]["scale"].scale == 1.0
    assert assigned["head"]["kernel"].scale == 1.0
    assert assigned["head"]["kernel"].decays
    assert not assigned["head"]["bias"].decays
    assert not assigned["backbone"]["cls_token"].decays
    assert not assigned["backbone"]["blocks_1"]["norm1"]["scale"].decays


def test_a_parameter_in_no_group_is_named_in_the_error():
    with pytest.raises(ValueError, match=r"head/bias.*none"):
        assign_groups(PARAMS, [ParameterGroup("all but", r"(?!head/bias).*", decays=True)])


def test_a_parameter_in_two_groups_is_named_in_the_error():
    groups = [
        ParameterGroup("one", ".*", decays=True),
        ParameterGroup("other", "head/.*", decays=True),
    ]
    with pytest.raises(ValueError, match=r"head/bias.*\['one', 'other'\]"):
        assign_groups(PARAMS, groups)


def test_describe_groups_counts_each_parameter_once():
    text = optimizers.describe_groups(PARAMS, optimizers.decay_weights_only())
    counts = [int(line.rsplit(", ", 1)[1].split()[0]) for line in text.splitlines()]
    assert sum(counts) == 12 + 4 + 4 + 4 + 16 + 4 + 16 + 4 + 4 + 8 + 2


def test_lars_matches_the_formula(params):
    """As in google-research/simclr: learning rate before the momentum, biases not adapted."""
    decay, momentum, trust = 1e-2, 0.9, 0.001
    lars = optimizers.lars(weight_decay=decay, momentum=momentum, trust_coefficient=trust)
    ours, gradients = apply_updates(lars, params, 10, 0.3)
    w, bias = params["w"].astype(np.float64), params["bias"].astype(np.float64)
    velocity = {"w": 0.0, "bias": 0.0}
    for gradient in gradients:
        g = gradient["w"] + decay * w
        ratio = trust * np.linalg.norm(w) / np.linalg.norm(g)
        velocity["w"] = momentum * velocity["w"] + 0.3 * ratio * g
        velocity["bias"] = momentum * velocity["bias"] + 0.3 * gradient["bias"]
        w, bias = w - velocity["w"], bias - velocity["bias"]
    np.testing.assert_allclose(ours["w"], w, rtol=1e-5)
    np.testing.assert_allclose(ours["bias"], bias, rtol=1e-5, atol=1e-6)


def test_adamw_with_scaled_groups_matches_the_formula(params):
    groups = (
        ParameterGroup("weights", "w", decays=True, scale=0.5),
        ParameterGroup("biases", "bias", decays=False, scale=1.0),
    )
    rate, decay, b1, b2 = 1e-2, 0.05, 0.9, 0.95
    ours, gradients = apply_updates(optimizers.adamw(groups, decay, b1, b2), params, 10, rate)
    for name, scale, wd in (("w", 0.5, decay), ("bias", 1.0, 0.0)):
        p = params[name].astype(np.float64)
        m = v = np.zeros_like(p)
        for t, gradient in enumerate(gradients, 1):
            m = b1 * m + (1 - b1) * gradient[name]
            v = b2 * v + (1 - b2) * gradient[name] ** 2
            step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
            p = p - rate * scale * (step + wd * p)
        np.testing.assert_allclose(ours[name], p, rtol=1e-5)


def test_sgd_matches_the_formula_of_pytorch(params):
    ours, gradients = apply_updates(optimizers.sgd(weight_decay=5e-4), params, 10, 0.1)
    w, velocity = params["w"].astype(np.float64), 0.0
    for gradient in gradients:
        velocity = 0.9 * velocity + gradient["w"] + 5e-4 * w
        w = w - 0.1 * velocity
    np.testing.assert_allclose(ours["w"], w, rtol=1e-5)


def test_frozen_parameters_are_not_updated_and_have_no_optimizer_state(params):
    groups = optimizers.add_frozen_group(optimizers.decay_weights_only(), "w")
    optimizer = optimizers.freeze_groups(optimizers.adamw(groups), groups)
    ours, _ = apply_updates(optimizer, params, 3, 1e-2)
    np.testing.assert_array_equal(ours["w"], params["w"])
    state = optimizer.init(jax.tree.map(jnp.asarray, params))
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(), params["bias"].shape}
    assert not np.allclose(ours["bias"], params["bias"])


def test_cosine_warms_up_linearly_then_decays_to_the_final_fraction():
    schedule = schedules.cosine(2.0, steps=110, warmup_steps=10, final_fraction=0.1)
    assert float(schedule(0)) == 0.0
    assert float(schedule(5)) == pytest.approx(1.0)
    assert float(schedule(10)) == pytest.approx(2.0)
    half = 0.2 + 1.8 * 0.5
    assert float(schedule(60)) == pytest.approx(half)
    assert float(schedule(110)) == pytest.approx(0.2)


def test_polynomial_is_a_power_of_the_remaining_fraction():
    schedule = schedules.polynomial(0.01, steps=100, power=0.9)
    assert float(schedule(25)) == pytest.approx(0.01 * 0.75**0.9)
    assert float(schedule(100)) == pytest.approx(0.0)


def test_a_warmup_longer_than_the_run_is_rejected():
    with pytest.raises(UserError, match="warm-up of 20 steps in a run of 10"):
        schedules.cosine(1.0, steps=10, warmup_steps=20)
