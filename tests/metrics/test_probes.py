import numpy as np
import pytest
from blobs import make_blobs
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from ssl_jax.metrics import probes


@pytest.fixture(name="blobs")
def blobs_fixture():
    return make_blobs()


def test_nearest_neighbours_agree_with_scikit_learn(blobs):
    train, test = blobs
    unit = [x["features"] / np.linalg.norm(x["features"], axis=1, keepdims=True) for x in blobs]

    def votes(distance):  # between unit vectors it is sqrt(2 - 2 s)
        return np.exp((1 - distance**2 / 2) / probes.TEMPERATURE)

    reference = KNeighborsClassifier(probes.NEIGHBOURS, weights=votes).fit(unit[0], train["label"])
    scores = probes.knn_scores(train["features"], np.eye(3)[train["label"]], test["features"])
    np.testing.assert_allclose(scores, reference.predict_proba(unit[1]), atol=1e-5)


def test_the_number_of_neighbours_is_limited_to_the_examples():
    scores = probes.knn_scores(np.eye(3), np.eye(3), np.eye(3))
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(3))


@pytest.mark.parametrize("examples", [300, 5])
def test_ridge_regression_agrees_with_scikit_learn(blobs, examples):
    train, test = ({k: v[:examples] for k, v in blobs[0].items()}, blobs[1])
    mean, std = train["features"].mean(0, dtype=float), train["features"].std(0, dtype=float)
    targets = np.eye(3)[train["label"]]
    reference = Ridge(0.01 * examples).fit((train["features"] - mean) / std, targets)
    scores = probes.ridge_scores(train["features"], targets, test["features"])
    np.testing.assert_allclose(
        scores, reference.predict((test["features"] - mean) / std), atol=1e-6
    )


def test_a_constant_feature_is_ignored(blobs):
    train, test = blobs
    targets = np.eye(3)[train["label"]]
    constant = [np.c_[x["features"], np.full(len(x["label"]), 3.0)] for x in blobs]
    np.testing.assert_allclose(
        probes.ridge_scores(constant[0], targets, constant[1]),
        probes.ridge_scores(train["features"], targets, test["features"]),
        atol=1e-6,
    )


def test_uniform_directions_have_std_one_and_full_rank():
    std, rank = probes.feature_spread(np.random.default_rng(0).normal(size=(4000, 16)))
    assert std == pytest.approx(1, abs=0.02)
    assert rank == pytest.approx(16, rel=0.01)


def test_the_effective_rank_is_the_dimension_of_the_subspace():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(500, 3)) @ np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    assert probes.feature_spread(flat + 7)[1] == pytest.approx(3, rel=0.02)
