"""Runs in float16: their loss scale is part of the state and of the log."""

import jax
import numpy as np
import pytest
from small_configs import make_small_config

import ssl_jax
from ssl_jax.checkpoints import loading
from ssl_jax.devices.precision import DEVICE_KINDS, DeviceKind
from ssl_jax.metrics import Mean
from ssl_jax.runs import parts
from ssl_jax.runs.training import train
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.metric_accumulator import MetricAccumulator
from ssl_jax.training.metric_writer import MetricWriter, read_records


def make_config(data_dir, kind="simclr"):
    config = make_small_config(kind, data_dir)
    config.precision = "float16"
    config.data.evaluation = ""
    config.every.save = 3
    return config


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("float16")
    return workdir, train(make_config(data_dir), workdir)


def read_steps(workdir):
    return [r for r in read_records(workdir / "metrics.jsonl") if r["phase"] == "train"]


def test_the_first_scales_overflow_and_are_halved_until_one_fits(finished):
    workdir, results = finished
    records = read_steps(workdir)
    scales = [record["loss_scale"] for record in records]
    skipped = [record["overflows"] > 0 for record in records]
    assert skipped[0]  # simclr's gradients at a scale of 65536
    assert not skipped[-1]
    for before, after, overflow in zip([2.0**16, *scales], scales, skipped, strict=False):
        assert after == (before / 2 if overflow else before)
    assert all("loss" in record for record in records[skipped.count(True) :])
    assert results["precision"]["compute"] == "float16"
    assert results["precision"]["reductions"] == "float32"
    assert np.isfinite(results["train"]["first_loss"])


def test_resume_restores_the_loss_scale(finished, data_dir, tmp_path, monkeypatch):
    def interrupt(writer, step, loss):
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(make_config(data_dir), tmp_path)
    train(make_config(data_dir), tmp_path)
    assert [r["loss_scale"] for r in read_steps(tmp_path)] == [
        r["loss_scale"] for r in read_steps(finished[0])
    ]
    ours, theirs = (loading.load_variables(folder) for folder in (tmp_path, finished[0]))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("first", ["float16", "float32"])
def test_auto_resumes_on_a_device_with_another_precision(first, data_dir, tmp_path, monkeypatch):
    """The loss scale of the checkpoint is dropped, or the initial one is used."""
    kinds = {"float16": DEVICE_KINDS["v100"], "float32": DeviceKind("cpu")}
    config = make_config(data_dir, "mae")
    config.precision = "auto"

    def interrupt(writer, step, loss):
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DeviceKind, "of", lambda device: kinds[first])
        patch.setattr(MetricWriter, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path)
    (second,) = kinds.keys() - {first}
    monkeypatch.setattr(DeviceKind, "of", lambda device: kinds[second])
    results = train(config, tmp_path)
    assert results["precision"]["compute"] == second
    assert ("loss_scale" in read_steps(tmp_path)[-1]) == (second == "float16")


def test_gradients_that_overflow_at_any_scale_are_a_divergence(tmp_path):
    with MetricWriter(tmp_path, 0, 30, 1) as writer:
        accumulator = MetricAccumulator(writer, 1, 30)
        for step in range(1, 21):
            accumulator.append(step, overflowed(step))
        with pytest.raises(Diverged, match="gradients of 20 consecutive steps, up to step 20"):
            accumulator.flush()


def overflowed(count):
    """The accumulators of a step after `count` overflows in a row."""
    nothing = Mean(np.zeros(()), np.zeros((), np.int64))
    return {"loss": nothing, "overflows": Mean(np.asarray(float(count)), np.ones((), np.int64))}


def test_its_checkpoint_is_used_like_any_other(finished, data_dir):
    workdir, _ = finished
    model = ssl_jax.load(workdir)
    representations = model(np.zeros((2, *model.card.image_shape), np.uint16))
    assert representations.dtype == np.float32
    assert np.isfinite(representations).all()
    config = make_small_config("classification", data_dir)
    config.pretrained = str(workdir)
    parts.assemble_run(config)
