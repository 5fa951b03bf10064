"""A run is the same on other devices, in micro-batches, and after an interruption: all objectives.

Each is compared with the run on one device that is never stopped.
"""

import jax
import pytest
from small import assert_same_run, losses, small

from ssl_jax import mesh, parts
from ssl_jax.logs import Log
from ssl_jax.train import train

OBJECTIVES = ("simclr", "mae", "classification", "segmentation")


def end_to_end(kind, data_dir):
    """The kind with everything random and everything trained, without evaluation."""
    config = small(kind, data_dir)
    config.data.evaluation = ""
    config.every.save = 3
    if kind == "classification":
        config.objective.frozen = False
        config.augment.train = {"name": "finetune", "size": 32}
    return config


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory):
    """The workdirs of five steps on one device."""
    patch = pytest.MonkeyPatch()
    patch.setattr(parts, "data_mesh", lambda: mesh.data_mesh(jax.devices()[:1]))
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in OBJECTIVES}
    for kind, folder in folders.items():
        train(end_to_end(kind, data_dir), folder)
        assert len(losses(folder)) == 5
    patch.undo()
    return folders


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_eight_devices_train_what_one_does(kind, undisturbed, data_dir, tmp_path, on_devices):
    on_devices(8)
    train(end_to_end(kind, data_dir), tmp_path)
    assert_same_run(tmp_path, undisturbed[kind])


def test_batch_norm_is_that_of_the_global_batch(data_dir, tmp_path, on_devices):
    for devices in (1, 8):
        on_devices(devices)
        config = end_to_end("simclr", data_dir)
        config.model.backbone.norm = config.model.projection.norm = "batch"
        config.optimizer.learning_rate = 0.01  # a run that jumps about amplifies rounding
        train(config, tmp_path / str(devices))
    assert_same_run(tmp_path / "1", tmp_path / "8")


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_accumulation_is_the_large_batch(kind, undisturbed, data_dir, tmp_path, on_devices):
    on_devices(2)
    config = end_to_end(kind, data_dir)
    config.objective.accumulate = 4
    train(config, tmp_path)
    assert_same_run(tmp_path, undisturbed[kind])


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_resume_repeats_the_uninterrupted_run(
    kind, undisturbed, data_dir, tmp_path, on_devices, monkeypatch
):
    on_devices(1)
    config = end_to_end(kind, data_dir)
    with monkeypatch.context() as patch:
        patch.setattr(Log, "advance", interrupting_at_step(4))
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path)
    assert not (tmp_path / "results.json").exists()
    train(config, tmp_path)
    assert_same_run(tmp_path, undisturbed[kind], tolerance=0)


def interrupting_at_step(fatal):
    """A person's Ctrl-C when the loop comes to a step."""

    def advance(log, step, loss):
        if step == fatal:
            raise KeyboardInterrupt

    return advance
