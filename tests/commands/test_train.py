"""Training runs: evaluation, transfer, invalid configs, and interruption."""

import json
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from small_configs import RESNET, VIT, assert_same_run, make_small_config, read_losses
from waiting import TIMEOUT_SECONDS, wait_for

from data_pipelines.errors import STOPPED, UserError
from ssl_jax.checkpoints import finding, loading
from ssl_jax.devices import mesh
from ssl_jax.runs import parts
from ssl_jax.runs.evaluation import evaluate_checkpoint
from ssl_jax.runs.training import train
from ssl_jax.training.divergence import Diverged


@pytest.mark.parametrize("kind", ["mae", "classification", "segmentation"])
def test_evaluation_does_not_depend_on_devices_or_batch_size(kind, trained, monkeypatch):
    workdir, _, results = trained(kind)  # on one device, in batches of 16
    for devices, batch_size in ((1, 7), (8, 64)):
        limited = mesh.make_data_mesh(jax.devices()[:devices])
        monkeypatch.setattr(
            "ssl_jax.runs.evaluation.make_data_mesh", lambda limited=limited: limited
        )
        metrics = evaluate_checkpoint(workdir, batch_size=batch_size)
        assert metrics.keys() == results["metrics"].keys()
        for name, value in results["metrics"].items():
            assert metrics[name] == pytest.approx(value, abs=1e-5, nan_ok=True), name


def test_each_labelled_pixel_and_each_scene_counts_once(trained):
    for kind in ("classification", "segmentation"):
        _, config, results = trained(kind)
        source = parts.assemble_run(config).evaluation_source
        records = [source[i] for i in range(len(source))]
        if kind == "classification":
            expected = np.bincount([record["label"] for record in records], minlength=10)
        else:
            clutter = results["classes"].index("clutter")
            labels = np.concatenate([record["mask"].reshape(-1) for record in records])
            counted = labels[(labels != 255) & (labels != clutter)]
            expected = np.bincount(counted, minlength=clutter + 1)[np.arange(6) != clutter]
        np.testing.assert_array_equal(np.sum(results["confusion"], axis=1), expected)


def test_predictions_are_those_of_the_final_evaluation(trained):
    workdir, config, results = trained("classification")
    source = parts.assemble_run(config).evaluation_source
    with np.load(workdir / "predictions.npz") as rows:
        assert rows["index"].tolist() == source.rows.tolist()
        assert rows["label"].tolist() == [int(source[i]["label"]) for i in range(len(source))]
        assert np.mean(rows["label"] == rows["predicted"]) == results["metrics"]["top1"]


@pytest.mark.parametrize(("kind", "backbone"), [("simclr", RESNET), ("mae", VIT)])
def test_a_frozen_backbone_equals_the_pretrained_one_exactly(
    kind, backbone, trained, data_dir, tmp_path
):
    config = make_small_config("classification", data_dir, backbone)
    config.data.evaluation = ""
    config.pretrained = str(trained(kind).workdir)
    train(config, tmp_path)
    pretrained, frozen = (
        loading.load_variables(workdir)["params"]["backbone"]
        for workdir in (trained(kind).workdir, tmp_path)
    )
    jax.tree.map(np.testing.assert_array_equal, frozen, pretrained)


def test_precomputed_features_train_the_same_head(trained, tmp_path, on_devices, monkeypatch):
    on_devices(1)
    monkeypatch.setattr(
        "ssl_jax.runs.features.precompute_features", lambda run, variables, stop: run
    )
    precomputed = trained("classification")
    train(precomputed.config, tmp_path)
    assert_same_run(precomputed.workdir, tmp_path)


def test_a_finished_run_is_left_unchanged(trained):
    workdir, config, results = trained("mae")
    written = (workdir / "results.json").stat().st_mtime_ns
    assert train(config, workdir) == json.loads(json.dumps(results))
    assert (workdir / "results.json").stat().st_mtime_ns == written


def test_a_nan_loss_stops_the_run(data_dir, tmp_path):
    config = make_small_config("mae", data_dir)
    config.data.evaluation = ""
    config.optimizer.learning_rate = 1e30
    config.steps = 40
    with pytest.raises(Diverged, match=r"objective mae: the loss of step \d+ is nan"):
        train(config, tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_sigterm_saves_a_checkpoint_and_exits(data_dir, tmp_path):
    command = [
        *(sys.executable, "-m", "ssl_jax.train", "--config", "tests/helpers/small_configs.py:mae"),
        *("--workdir", str(tmp_path), f"--config.data.data_dir={data_dir}"),
    ]
    process = subprocess.Popen([*command, "--config.steps=100000"], stderr=subprocess.PIPE)
    wait_for(
        lambda: (tmp_path / "metrics.jsonl").exists() and len(read_losses(tmp_path)) >= 3, process
    )
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=TIMEOUT_SECONDS)[1].decode()
    assert process.returncode == STOPPED
    assert "run the same command again to resume" in message
    saved = int(finding.find_newest_checkpoint(tmp_path).name)
    assert saved >= 3
    assert loading.load_card(tmp_path)["step"] == saved
    assert len(read_losses(tmp_path)) == saved


def invalid_fields():
    """Changes to a config, and a part of the error message that they cause."""
    return [
        ({"data.name": "demo_nothing"}, "demo_nothing"),
        ({"data.data_dir": "/nowhere"}, "python -m data_pipelines.build demo_tiles"),
        ({"data.bands": ("red", "swir16")}, "swir16"),
        ({"data.train": "training"}, "no split 'training'"),
        ({"batch_size": 12}, "config.batch_size: found 12; expected a multiple of 8"),
        ({"batch_size": 4096}, "has 48 examples; expected at most"),
        ({"model.backbone.name": "resnet51"}, "config.model.backbone.name: found 'resnet51'"),
        ({"objective.mask_ratoi": 0.5}, "config.objective.mask_ratoi: no such field; did you mean"),
        ({"optimizer.name": "adam"}, "config.optimizer.name: found 'adam'"),
        ({"steps": 0}, "expected one of them to be 0"),
        ({"precision": "float8"}, "config.precision: found 'float8'"),
        ({"pretrained": "/nowhere"}, "/nowhere holds no checkpoint"),
        ({"augment.train.name": "nothing"}, "config.augment.train.name"),
        ({"augment.train.size": 30}, "config.augment.train.size: found 30; expected a multiple of"),
    ]


@pytest.mark.parametrize("number", range(len(invalid_fields())))
def test_an_invalid_field_is_an_error_of_one_line_and_leaves_no_files(number, data_dir, tmp_path):
    config = make_small_config("mae", data_dir)
    changes, message = invalid_fields()[number]
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    workdir = tmp_path / "run"
    with pytest.raises(UserError) as error:
        train(config, workdir)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not workdir.exists()


def test_a_workdir_of_another_config_is_rejected(trained):
    workdir, config, _ = trained("mae")
    other = config.copy_and_resolve_references()
    other.optimizer.weight_decay = 0.3
    with pytest.raises(UserError, match=r"belongs to a run with config\.optimizer\.weight_decay"):
        train(other, workdir)


def test_a_backbone_for_other_bands_is_rejected(data_dir, tmp_path):
    three = make_small_config("simclr", data_dir)
    three.data.bands, three.data.evaluation = ("red", "green", "blue"), ""
    three.steps = 1
    train(three, tmp_path / "three")
    config = make_small_config("classification", data_dir)
    config.pretrained = str(tmp_path / "three")
    with pytest.raises(UserError, match="was trained on red, green, blue; expected the same"):
        train(config, tmp_path / "four")


def test_a_supervised_objective_requires_labels(data_dir, tmp_path):
    config = make_small_config("classification", data_dir)
    config.data.update(name="demo_tiles/tiny", train="train", evaluation="validation")
    with pytest.raises(UserError, match="have target 'none'; objective classification expects"):
        train(config, tmp_path)


def test_an_unknown_override_exits_with_2_and_one_line(tmp_path):
    process = subprocess.run(
        [
            *(sys.executable, "-m", "ssl_jax.train"),
            *("--config", "configs/pretrain/mae_vitb_ben4.py"),
            *("--workdir", str(tmp_path / "run"), "--config.sed=1"),
        ],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2
    assert process.stderr.splitlines() == [
        "error: --config.sed: config has no field 'sed'; did you mean seed?"
    ]
    assert not (tmp_path / "run").exists()
