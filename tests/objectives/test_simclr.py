import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ssl_jax.objectives.simclr import nt_xent


def compute_reference(projections, temperature):
    """Compute equation 1 of Chen et al. 2020 in float64, for each anchor, (B, 2)."""
    z = projections.astype(np.float64)
    z = (z / np.linalg.norm(z, axis=-1, keepdims=True)).reshape(-1, z.shape[-1])
    similarity = np.exp(z @ z.T / temperature)
    losses = [
        -np.log(similarity[i, i ^ 1] / (similarity[i].sum() - similarity[i, i]))
        for i in range(len(z))
    ]
    return np.reshape(losses, (-1, 2))


def make_loss(lab, devices, temperature=0.1):
    """Make the loss of a step: the mean over examples and devices of the sum over views."""

    def loss(z):
        losses = nt_xent(z, temperature, jnp.ones(len(z), bool))[0]
        return jax.lax.pmean(losses.sum(1).mean(), "data")

    return lab.map_over_devices(loss, devices, P("data"))


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_nt_xent_follows_the_formula_with_negatives_of_all_devices(lab, devices):
    z = np.random.default_rng(0).normal(size=(16, 2, 12)).astype(np.float32)
    losses = compute_reference(z, 0.1)
    assert make_loss(lab, devices)(z) == pytest.approx(losses.sum(1).mean(), rel=1e-5)
    if devices > 1:
        size = 16 // devices
        local = np.concatenate(
            [compute_reference(z[i : i + size], 0.1) for i in range(0, 16, size)]
        )
        assert abs(local.sum(1).mean() - losses.sum(1).mean()) > 0.1


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_the_gradient_flows_through_the_gather(lab, devices):
    z = np.random.default_rng(1).normal(size=(8, 2, 5)).astype(np.float32)
    ours = np.asarray(jax.grad(make_loss(lab, devices, temperature=0.5))(z))
    numeric = np.zeros(z.shape)
    for position in np.ndindex(z.shape):
        step = np.zeros(z.shape)
        step[position] = 1e-5
        high, low = (
            compute_reference(z.astype(np.float64) + s, 0.5).sum(1).mean() for s in (step, -step)
        )
        numeric[position] = (high - low) / 2e-5
    np.testing.assert_allclose(ours, numeric, atol=2e-6)


def test_padding_is_not_a_negative(lab):
    z = np.random.default_rng(2).normal(size=(8, 2, 5)).astype(np.float32)
    valid = np.arange(8) < 5

    def loss(z, valid):
        losses = nt_xent(z, 0.1, valid)[0]
        return jax.lax.psum(jnp.where(valid, losses.sum(1), 0).sum(), "data")

    assert lab.map_over_devices(loss, 8, (P("data"), P("data")))(z, valid) == pytest.approx(
        compute_reference(z[:5], 0.1).sum(), rel=1e-5
    )


def test_projection_std_is_one_if_uniform_and_zero_if_collapsed(lab):
    def std(z):
        return jax.lax.pmean(nt_xent(z, 0.1, jnp.ones(len(z), bool))[2], "data")

    uniform = np.random.default_rng(0).normal(size=(512, 2, 16)).astype(np.float32)
    assert lab.map_over_devices(std, 8, P("data"))(uniform) == pytest.approx(1, abs=0.03)
    assert lab.map_over_devices(std, 8, P("data"))(np.ones_like(uniform)) == pytest.approx(
        0, abs=1e-5
    )


def test_the_two_views_differ(lab):
    objective, batch = lab.make_objective("simclr"), lab.draw_batch()
    variables = lab.init(objective, batch)
    samples = objective.make_samples(variables, batch, jax.random.key(0))
    assert samples["view_1"].shape == (16, lab.size, lab.size, 4)
    assert np.abs(samples["view_1"] - samples["view_2"]).max(axis=(1, 2, 3)).min() > 0.01
