"""NT-Xent and its gradients against the formula and google-research/simclr, in NumPy float64.

The loss is computed on 1, 2 and 8 devices, which must use the negatives of the whole batch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from relative_error import assert_agreement, relative_error

from ssl_jax import models
from ssl_jax.augment import Augmentation, Normalisation
from ssl_jax.devices.mesh import make_data_mesh, pmap_over_mesh
from ssl_jax.models.simclr import SimCLRModel
from ssl_jax.objectives import SimCLR
from ssl_jax.objectives.simclr import nt_xent

DEVICES = (1, 2, 8)
EXAMPLES, DIMENSIONS = 32, 24
LARGE_NUM = 1e9


def draw_projections(seed=0, examples=EXAMPLES):
    """Draw projections (examples, 2, D) whose views are similar, as after training."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(examples, 1, DIMENSIONS))
    return (shared + 0.7 * rng.normal(size=(examples, 2, DIMENSIONS))).astype(np.float32)


def normalise(projections):
    z = np.asarray(projections, np.float64)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def compute_formula(projections, temperature):
    """Compute equation 1 of Chen et al. 2020 for each anchor, (B, 2), and its gradient.

    The gradient is that of the sum over all anchors divided by B.

    With p(i, k) the softmax over k ≠ i of s(i, k) = z_i·z_k / τ, and y(i, k) = 1 if k is i's
    positive, the gradient with respect to s is p - y. z_i affects its row and its column of s, and
    the normalisation removes the component of the gradient that is parallel to z_i.
    """
    z = normalise(projections).reshape(-1, DIMENSIONS)
    similarity = z @ z.T / temperature
    np.fill_diagonal(similarity, -np.inf)
    positive = np.arange(len(z)) ^ 1
    maximum = similarity.max(axis=1, keepdims=True)
    exponential = np.exp(similarity - maximum)
    total = exponential.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) + maximum[:, 0] - similarity[np.arange(len(z)), positive]
    residual = exponential / total
    residual[np.arange(len(z)), positive] -= 1
    unit_gradient = (residual + residual.T) @ z / temperature / (len(z) / 2)
    norms = np.linalg.norm(np.asarray(projections, np.float64), axis=-1).reshape(-1, 1)
    parallel = (unit_gradient * z).sum(axis=1, keepdims=True)
    gradient = (unit_gradient - parallel * z) / norms
    return losses.reshape(-1, 2), gradient.reshape(-1, 2, DIMENSIONS)


def compute_simclr_loss(projections, temperature, replicas=1):
    """Reimplement `add_contrastive_loss` of google-research/simclr, averaged over the replicas."""
    z = normalise(projections)
    large = z[:, 0], z[:, 1]
    size = len(z) // replicas
    losses = []
    for replica in range(replicas):
        rows = slice(replica * size, (replica + 1) * size)
        hidden = large[0][rows], large[1][rows]
        masks = np.eye(len(z))[rows]
        labels = np.concatenate([masks, 0 * masks], axis=1)
        logits_aa = hidden[0] @ large[0].T / temperature - masks * LARGE_NUM
        logits_bb = hidden[1] @ large[1].T / temperature - masks * LARGE_NUM
        logits_ab = hidden[0] @ large[1].T / temperature
        logits_ba = hidden[1] @ large[0].T / temperature
        losses.append(
            cross_entropy(labels, np.concatenate([logits_ab, logits_aa], axis=1))
            + cross_entropy(labels, np.concatenate([logits_ba, logits_bb], axis=1))
        )
    return np.mean(losses)


def cross_entropy(labels, logits):
    """Reimplement `tf.losses.softmax_cross_entropy`, averaged over the rows."""
    logits = logits - logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(logits).sum(axis=1)) - (labels * logits).sum(axis=1)).mean()


def compute_loss_and_gradient(projections, temperature, devices, valid=None):
    """Compute the mean loss over the devices, and its gradient, as `steps.make_train_step` does."""

    def global_loss(projections, valid):
        losses = nt_xent(projections, temperature, valid)[0]
        return jax.lax.pmean(jnp.where(valid, losses.sum(axis=1), 0).mean(), "data")

    valid = np.ones(len(projections), bool) if valid is None else valid
    step = pmap_over_mesh(
        jax.value_and_grad(global_loss),
        make_data_mesh(jax.devices()[:devices]),
        (P("data"), P("data")),
        (P(), P("data")),
    )
    return step(projections, valid)


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_and_gradient_are_those_of_the_formula(devices, temperature):
    projections = draw_projections()
    losses, gradient = compute_formula(projections, temperature)
    ours = compute_loss_and_gradient(projections, temperature, devices)
    assert_agreement(
        f"NT-Xent, formula, {devices=}, {temperature=}",
        {"loss": ours[0], "gradient": ours[1]},
        {"loss": losses.sum(axis=1).mean(), "gradient": gradient},
        1e-5,
    )


def test_the_gradient_of_the_formula_agrees_with_finite_differences():
    """Check the reference itself."""
    projections = draw_projections(examples=4).astype(np.float64)
    differences = np.zeros_like(projections)
    for index in np.ndindex(projections.shape):
        step = np.zeros_like(projections)
        step[index] = 1e-6
        high, low = (
            compute_formula(projections + s, 0.1)[0].sum(axis=1).mean() for s in (step, -step)
        )
        differences[index] = (high - low) / 2e-6
    assert relative_error(compute_formula(projections, 0.1)[1], differences) < 1e-7


@pytest.mark.parametrize("devices", DEVICES)
def test_the_loss_is_that_of_google_research(devices):
    projections = draw_projections(1)
    theirs = compute_simclr_loss(projections, 0.1, devices)
    error = relative_error(compute_loss_and_gradient(projections, 0.1, devices)[0], theirs)
    print(f"\nNT-Xent, google-research/simclr, {devices=}: {error:.1e}")
    assert error < 1e-6


def test_the_negatives_are_those_of_all_devices():
    """Eight devices compute the loss of the whole batch, not the mean of eight losses."""
    projections = draw_projections(2)
    expected, expected_gradient = compute_loss_and_gradient(projections, 0.1, 1)
    loss, gradient = compute_loss_and_gradient(projections, 0.1, 8)
    assert relative_error(loss, expected) < 1e-6
    assert relative_error(gradient, expected_gradient) < 1e-6
    local = np.mean(
        [compute_formula(part, 0.1)[0].sum(axis=1).mean() for part in np.split(projections, 8)]
    )
    assert abs(local - loss) > 0.5


@pytest.mark.parametrize("devices", DEVICES)
def test_invalid_rows_are_no_negatives_and_get_no_gradient(devices):
    projections = draw_projections(3)
    valid = np.random.default_rng(3).random(EXAMPLES) < 0.6
    losses, gradient = compute_formula(projections[valid], 0.1)
    fraction = valid.mean()  # since the loss is the mean over all rows
    loss, ours = compute_loss_and_gradient(projections, 0.1, devices, valid)
    assert np.abs(ours[~valid]).max() == 0
    assert_agreement(
        f"NT-Xent, {valid.sum()} of {EXAMPLES} valid, {devices=}",
        {"loss": loss, "gradient": ours[valid]},
        {"loss": fraction * losses.sum(axis=1).mean(), "gradient": fraction * gradient},
        1e-5,
    )


@functools.cache
def make_objective():
    """Create a SimCLR objective in which only the loss depends on several examples."""
    network = SimCLRModel(
        models.resnet18(stages=(1, 1, 1, 1), width=8, norm="group"),
        models.Projection(hidden=16, out=8, norm="group"),
    )
    normalise = Normalisation((1 / 255,) * 4, (0.0,) * 4, (127.0,) * 4, (60.0,) * 4)
    return SimCLR(network, Augmentation.simclr(32), normalise)


@functools.cache
def run_step(devices):
    """Compute the loss of a batch and its gradient for each parameter."""
    rng = np.random.default_rng(4)
    batch = {
        "image": rng.integers(0, 256, (16, 40, 40, 4)).astype(np.uint8),
        "index": rng.permutation(1000)[:16].astype(np.int32),
    }
    # The last γ of each block is initialised to 0, which would make the gradients before it 0.
    params = jax.tree.map(
        lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32),
        jax.jit(make_objective().init)(jax.random.key(0), batch)["params"],
    )

    def step(params, batch):
        def loss(params):
            variables = {"params": params, "batch_stats": {}}
            value, _ = make_objective().loss(variables, batch, jax.random.key(1))
            return jax.lax.pmean(value, "data")

        return jax.value_and_grad(loss)(params)

    mesh = make_data_mesh(jax.devices()[:devices])
    loss, gradient = pmap_over_mesh(step, mesh, (P(), P("data")), P())(params, batch)
    paths, _ = jax.tree_util.tree_flatten_with_path(gradient)
    leaves = {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in paths}
    return {"loss": loss} | leaves


@pytest.mark.parametrize("devices", [2, 8])
def test_the_gradients_of_simclr_are_the_same_on_any_number_of_devices(devices):
    expected, actual = run_step(1), run_step(devices)
    assert_agreement(f"SimCLR's gradients, {devices=} against one", actual, expected, 1e-5)


def test_the_comparison_detects_local_negatives(monkeypatch):
    """Without the gather, the loss on eight devices differs, so that the tests above can fail."""
    projections = draw_projections(2)
    losses, _ = compute_formula(projections, 0.1)

    monkeypatch.setattr(jax.lax, "all_gather", lambda x, axis, tiled: x)
    monkeypatch.setattr(jax.lax, "axis_index", lambda axis: 0)
    loss, _ = compute_loss_and_gradient(projections, 0.1, 8)
    assert abs(loss - losses.sum(axis=1).mean()) > 0.5
