"""NT-Xent against its formula and google-research/simclr's code, in NumPy float64, with gradients.

On 1, 2 and 8 devices, which must all be told of the whole batch's negatives.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from deviation import deviation, expect_agreement
from jax.sharding import PartitionSpec as P

from ssl_jax import models
from ssl_jax.augment import Augmentation, Normalisation
from ssl_jax.devices.mesh import make_data_mesh, pmap_over_mesh
from ssl_jax.models.simclr import SimCLRModel
from ssl_jax.objectives import SimCLR
from ssl_jax.objectives.simclr import nt_xent

DEVICES = (1, 2, 8)
EXAMPLES, DIMENSIONS = 32, 24
LARGE_NUM = 1e9


def draw(seed=0, examples=EXAMPLES):
    """Projections of two views (examples, 2, D) that resemble each other, as trained ones do."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(examples, 1, DIMENSIONS))
    return (shared + 0.7 * rng.normal(size=(examples, 2, DIMENSIONS))).astype(np.float32)


def normalised(projections):
    z = np.asarray(projections, np.float64)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def formula(projections, temperature):
    """Equation 1 of Chen et al. 2020 for each anchor (B, 2), and the gradient of their sum over B.

    With p(i, k) the softmax over k ≠ i of s(i, k) = z_i·z_k / τ, and y(i, k) = 1 for i's partner,
    ds = p - y; a change of z_i moves its row and its column of s, and the norm takes out what is
    parallel to z_i.
    """
    z = normalised(projections).reshape(-1, DIMENSIONS)
    similarity = z @ z.T / temperature
    np.fill_diagonal(similarity, -np.inf)
    partner = np.arange(len(z)) ^ 1
    most = similarity.max(axis=1, keepdims=True)
    exponential = np.exp(similarity - most)
    total = exponential.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) + most[:, 0] - similarity[np.arange(len(z)), partner]
    slope = exponential / total
    slope[np.arange(len(z)), partner] -= 1
    by_direction = (slope + slope.T) @ z / temperature / (len(z) / 2)
    lengths = np.linalg.norm(np.asarray(projections, np.float64), axis=-1).reshape(-1, 1)
    along = (by_direction * z).sum(axis=1, keepdims=True)
    gradient = (by_direction - along * z) / lengths
    return losses.reshape(-1, 2), gradient.reshape(-1, 2, DIMENSIONS)


def of_google_research(projections, temperature, replicas=1):
    """`add_contrastive_loss` of google-research/simclr: the mean over the replicas' losses."""
    both = normalised(projections)
    large = both[:, 0], both[:, 1]
    part = len(both) // replicas
    losses = []
    for replica in range(replicas):
        rows = slice(replica * part, (replica + 1) * part)
        hidden = large[0][rows], large[1][rows]
        masks = np.eye(len(both))[rows]
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
    """`tf.losses.softmax_cross_entropy`: the mean over the rows."""
    logits = logits - logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(logits).sum(axis=1)) - (labels * logits).sum(axis=1)).mean()


def loss_and_gradient(projections, temperature, devices, valid=None):
    """As `loop.make_train_step` takes them: the gradient of the mean over the devices of the
    loss."""

    def whole(projections, valid):
        losses = nt_xent(projections, temperature, valid)[0]
        return jax.lax.pmean(jnp.where(valid, losses.sum(axis=1), 0).mean(), "data")

    valid = np.ones(len(projections), bool) if valid is None else valid
    step = pmap_over_mesh(
        jax.value_and_grad(whole),
        make_data_mesh(jax.devices()[:devices]),
        (P("data"), P("data")),
        (P(), P("data")),
    )
    return step(projections, valid)


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_and_gradient_are_those_of_the_formula(devices, temperature):
    projections = draw()
    losses, gradient = formula(projections, temperature)
    ours = loss_and_gradient(projections, temperature, devices)
    expect_agreement(
        f"NT-Xent, formula, {devices=}, {temperature=}",
        {"loss": ours[0], "gradient": ours[1]},
        {"loss": losses.sum(axis=1).mean(), "gradient": gradient},
        1e-5,
    )


def test_the_gradient_of_the_formula_is_its_slope():
    """The reference itself, against central differences."""
    projections = draw(examples=4).astype(np.float64)
    slopes = np.zeros_like(projections)
    for place in np.ndindex(projections.shape):
        step = np.zeros_like(projections)
        step[place] = 1e-6
        high, low = (formula(projections + s, 0.1)[0].sum(axis=1).mean() for s in (step, -step))
        slopes[place] = (high - low) / 2e-6
    assert deviation(formula(projections, 0.1)[1], slopes) < 1e-7


@pytest.mark.parametrize("devices", DEVICES)
def test_the_loss_is_that_of_google_research(devices):
    projections = draw(1)
    theirs = of_google_research(projections, 0.1, devices)
    found = deviation(loss_and_gradient(projections, 0.1, devices)[0], theirs)
    print(f"\nNT-Xent, google-research/simclr, {devices=}: {found:.1e}")
    assert found < 1e-6


def test_the_negatives_are_those_of_all_devices():
    """Eight devices see what one does with the whole batch, not the mean of what each has."""
    projections = draw(2)
    whole, gradient = loss_and_gradient(projections, 0.1, 1)
    loss, spread_gradient = loss_and_gradient(projections, 0.1, 8)
    assert deviation(loss, whole) < 1e-6
    assert deviation(spread_gradient, gradient) < 1e-6
    local = np.mean([formula(part, 0.1)[0].sum(axis=1).mean() for part in np.split(projections, 8)])
    assert abs(local - loss) > 0.5


@pytest.mark.parametrize("devices", DEVICES)
def test_invalid_rows_are_nobodys_negatives_and_learn_nothing(devices):
    projections = draw(3)
    valid = np.random.default_rng(3).random(EXAMPLES) < 0.6
    losses, gradient = formula(projections[valid], 0.1)
    share = valid.mean()  # of a mean over all rows
    loss, ours = loss_and_gradient(projections, 0.1, devices, valid)
    assert np.abs(ours[~valid]).max() == 0
    expect_agreement(
        f"NT-Xent, {valid.sum()} of {EXAMPLES} valid, {devices=}",
        {"loss": loss, "gradient": ours[valid]},
        {"loss": share * losses.sum(axis=1).mean(), "gradient": share * gradient},
        1e-5,
    )


@functools.cache
def objective():
    """A whole SimCLR whose network couples examples by its loss alone."""
    network = SimCLRModel(
        models.resnet18(stages=(1, 1, 1, 1), width=8, norm="group"),
        models.Projection(hidden=16, out=8, norm="group"),
    )
    normalise = Normalisation((1 / 255,) * 4, (0.0,) * 4, (127.0,) * 4, (60.0,) * 4)
    return SimCLR(network, Augmentation.simclr(32), normalise)


@functools.cache
def step_of_the_objective(devices):
    """Loss and gradient of every parameter, for one batch."""
    rng = np.random.default_rng(4)
    batch = {
        "image": rng.integers(0, 256, (16, 40, 40, 4)).astype(np.uint8),
        "index": rng.permutation(1000)[:16].astype(np.int32),
    }
    # Not as initialised: the last γ of each block would be 0, and so the gradient before it.
    params = jax.tree.map(
        lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32),
        jax.jit(objective().init)(jax.random.key(0), batch)["params"],
    )

    def step(params, batch):
        def loss(params):
            variables = {"params": params, "batch_stats": {}}
            value, _ = objective().loss(variables, batch, jax.random.key(1))
            return jax.lax.pmean(value, "data")

        return jax.value_and_grad(loss)(params)

    mesh = make_data_mesh(jax.devices()[:devices])
    loss, gradient = pmap_over_mesh(step, mesh, (P(), P("data")), P())(params, batch)
    paths, _ = jax.tree_util.tree_flatten_with_path(gradient)
    leaves = {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in paths}
    return {"loss": loss} | leaves


@pytest.mark.parametrize("devices", [2, 8])
def test_a_whole_simclr_learns_the_same_on_any_number_of_devices(devices):
    one, many = step_of_the_objective(1), step_of_the_objective(devices)
    expect_agreement(f"SimCLR's gradients, {devices=} against one", many, one, 1e-5)


def test_local_negatives_would_be_noticed(monkeypatch):
    """Without the gather the loss on eight devices is another one: the tests above can fail."""
    projections = draw(2)
    whole, _ = formula(projections, 0.1)

    monkeypatch.setattr(jax.lax, "all_gather", lambda x, axis, tiled: x)
    monkeypatch.setattr(jax.lax, "axis_index", lambda axis: 0)
    loss, _ = loss_and_gradient(projections, 0.1, 8)
    assert abs(loss - whole.sum(axis=1).mean()) > 0.5
