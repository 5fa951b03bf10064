import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from small import small

from data_pipelines.errors import UserError
from ssl_jax.runs import probe
from ssl_jax.train import train
from ssl_jax.training.logs import read_records


@pytest.fixture
def blobs():
    """Features of 300 + 200 examples round three places, and their classes."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 500)
    features = rng.normal(size=(3, 8))[label] * 2 + rng.normal(size=(500, 8)) * [
        1,
        5,
        1,
        1,
        2,
        1,
        1,
        9,
    ]
    records = {"features": features.astype(np.float32), "label": label}
    return [{k: v[part] for k, v in records.items()} for part in (slice(300), slice(300, None))]


def test_nearest_neighbours_vote_as_scikit_learn_has_it(blobs):
    train, test = blobs
    unit = [x["features"] / np.linalg.norm(x["features"], axis=1, keepdims=True) for x in blobs]

    def votes(distance):  # between unit vectors it is sqrt(2 - 2 s)
        return np.exp((1 - distance**2 / 2) / probe.TEMPERATURE)

    oracle = KNeighborsClassifier(probe.NEIGHBOURS, weights=votes).fit(unit[0], train["label"])
    scores = probe.nearest_neighbours(
        train["features"], np.eye(3)[train["label"]], test["features"]
    )
    np.testing.assert_allclose(scores, oracle.predict_proba(unit[1]), atol=1e-5)


def test_more_neighbours_than_examples_are_all_of_them():
    scores = probe.nearest_neighbours(np.eye(3), np.eye(3), np.eye(3))
    np.testing.assert_array_equal(scores.argmax(axis=1), np.arange(3))


@pytest.mark.parametrize("examples", [300, 5])
def test_ridge_is_that_of_scikit_learn(blobs, examples):
    train, test = ({k: v[:examples] for k, v in blobs[0].items()}, blobs[1])
    mean, std = train["features"].mean(0, dtype=float), train["features"].std(0, dtype=float)
    targets = np.eye(3)[train["label"]]
    oracle = Ridge(0.01 * examples).fit((train["features"] - mean) / std, targets)
    scores = probe.ridge(train["features"], targets, test["features"])
    np.testing.assert_allclose(scores, oracle.predict((test["features"] - mean) / std), atol=1e-6)


def test_a_feature_that_never_changes_says_nothing(blobs):
    train, test = blobs
    targets = np.eye(3)[train["label"]]
    constant = [np.c_[x["features"], np.full(len(x["label"]), 3.0)] for x in blobs]
    np.testing.assert_allclose(
        probe.ridge(constant[0], targets, constant[1]),
        probe.ridge(train["features"], targets, test["features"]),
        atol=1e-6,
    )


def test_even_directions_have_deviation_one_and_full_rank():
    std, rank = probe.collapse(np.random.default_rng(0).normal(size=(4000, 16)))
    assert std == pytest.approx(1, abs=0.02)
    assert rank == pytest.approx(16, rel=0.01)


def test_the_effective_rank_counts_the_directions_that_are_used():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(500, 3)) @ np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    assert probe.collapse(flat + 7)[1] == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("case", ["all the same", "on a line", "zeros"])
def test_a_collapse_is_told(case, blobs):
    features = {
        "all the same": np.ones((200, 8)) + np.random.default_rng(0).normal(size=(200, 8)) * 1e-6,
        "on a line": np.outer(np.arange(200), np.arange(8)),
        "zeros": np.zeros((200, 8)),
    }[case]
    assert probe.figures(blobs[0], {"features": features}, 0)["collapsed"] == 1
    assert probe.figures(*blobs, 0)["collapsed"] == 0


def test_several_labels_are_judged_by_average_precision(blobs):
    records = [{"features": b["features"], "labels": np.eye(3)[b["label"]]} for b in blobs]
    found, single = probe.figures(*records, 3), probe.figures(*blobs, 3)
    assert found.keys() >= {"knn_mAP", "ridge_mAP"}
    assert found["ridge_mAP"] > 0.8
    assert min(single["knn_top1"], single["ridge_top1"]) > 0.7


@pytest.mark.parametrize("kind", ["simclr", "mae"])
def test_a_pretraining_is_probed_from_the_start_to_the_end(kind, data_dir, tmp_path):
    config = small(kind, data_dir)
    config.probe.update(name="demo_scenes/tiny", train="all[5:5]", evaluation="all[5:5].rest")
    config.every.probe = 2
    config.data.evaluation = ""
    train(config, tmp_path)
    records = [r for r in read_records(tmp_path / "metrics.jsonl") if r["phase"] == "probe"]
    assert [record["step"] for record in records] == [0, 2, 4, 5]
    assert all(0 <= record["knn_top1"] <= 1 and record["collapsed"] == 0 for record in records)


def test_a_frozen_backbone_is_probed_on_the_features_computed_once(trained):
    assert trained("classification").results["probe"].keys() >= {
        "knn_top1",
        "ridge_top1",
        "effective_rank",
    }


def test_a_run_that_collapses_says_so(data_dir, tmp_path, capfd):
    config = small("mae", data_dir)
    config.probe.update(train="train", evaluation="validation")
    config.data.evaluation = ""
    config.steps = 30
    config.optimizer.weight_decay = 100.0  # the weights die away
    config.optimizer.learning_rate = 9e-3
    train(config, tmp_path)
    assert "the features have collapsed at step 30" in capfd.readouterr().err


def test_a_probe_of_no_such_part_is_a_mistake_that_is_named(data_dir, tmp_path):
    config = small("mae", data_dir)
    config.probe.train = "training"
    with pytest.raises(UserError, match=r"config\.probe: split 'training'.*there is no probe"):
        train(config, tmp_path)
