import numpy as np
import pytest
from blobs import make_blobs
from small_configs import make_small_config

from data_pipelines.errors import UserError
from ssl_jax.runs import probe
from ssl_jax.runs.training import train
from ssl_jax.training.metric_writer import read_records


@pytest.fixture(name="blobs")
def three_blobs():
    return make_blobs()


@pytest.mark.parametrize("case", ["all the same", "on a line", "zeros"])
def test_collapsed_features_are_detected(case, blobs):
    features = {
        "all the same": np.ones((200, 8)) + np.random.default_rng(0).normal(size=(200, 8)) * 1e-6,
        "on a line": np.outer(np.arange(200), np.arange(8)),
        "zeros": np.zeros((200, 8)),
    }[case]
    assert probe.compute_probe_metrics(blobs[0], {"features": features}, 0)["collapsed"] == 1
    assert probe.compute_probe_metrics(*blobs, 0)["collapsed"] == 0


def test_several_labels_per_example_are_scored_by_average_precision(blobs):
    records = [{"features": b["features"], "labels": np.eye(3)[b["label"]]} for b in blobs]
    multiple = probe.compute_probe_metrics(*records, 3)
    assert multiple.keys() >= {"knn_mAP", "ridge_mAP"}
    assert multiple["ridge_mAP"] > 0.8
    single = probe.compute_probe_metrics(*blobs, 3)
    assert min(single["knn_top1"], single["ridge_top1"]) > 0.7


@pytest.mark.parametrize("kind", ["simclr", "mae"])
def test_pretraining_is_probed_from_the_first_to_the_last_step(kind, data_dir, tmp_path):
    config = make_small_config(kind, data_dir)
    config.probe.update(name="demo_scenes/tiny", train="all[5:5]", evaluation="all[5:5].rest")
    config.every.probe = 2
    config.data.evaluation = ""
    train(config, tmp_path)
    records = [r for r in read_records(tmp_path / "metrics.jsonl") if r["phase"] == "probe"]
    assert [record["step"] for record in records] == [0, 2, 4, 5]
    assert all(0 <= record["knn_top1"] <= 1 and record["collapsed"] == 0 for record in records)


def test_a_frozen_backbone_is_probed_on_its_precomputed_features(trained):
    assert trained("classification").results["probe"].keys() >= {
        "knn_top1",
        "ridge_top1",
        "effective_rank",
    }


def test_collapsed_features_cause_a_warning(data_dir, tmp_path, capfd):
    config = make_small_config("mae", data_dir)
    config.probe.update(train="train", evaluation="validation")
    config.data.evaluation = ""
    config.steps = 30
    config.optimizer.weight_decay = 100.0  # the weights decay to zero
    config.optimizer.learning_rate = 9e-3
    train(config, tmp_path)
    assert "the features have collapsed at step 30" in capfd.readouterr().err


def test_a_probe_with_an_unknown_split_is_refused(data_dir, tmp_path):
    config = make_small_config("mae", data_dir)
    config.probe.train = "training"
    with pytest.raises(UserError, match=r"config\.probe: split 'training'.*disables the probe"):
        train(config, tmp_path)
