"""A run is the same on other devices, in micro-batches, and after an interruption: all objectives.

Each is compared with the run on one device that is never stopped.
"""

import pytest
from small import assert_same_run, devices, losses, small

from ssl_jax.runs.training import train
from ssl_jax.training.metric_writer import MetricWriter

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
def undisturbed(trained, data_dir, tmp_path_factory):
    """The workdirs of five steps on one device, some of which were evaluated too."""
    folders = {kind: trained(kind).workdir for kind in OBJECTIVES if kind != "classification"}
    folders["classification"] = tmp_path_factory.mktemp("classification")
    with devices(1):
        train(end_to_end("classification", data_dir), folders["classification"])
    assert all(len(losses(folder)) == 5 for folder in folders.values())
    return folders


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_eight_devices_in_micro_batches_train_what_one_does_at_once(
    kind, undisturbed, data_dir, tmp_path, on_devices
):
    """Where only one of both is off, tests/objectives says which."""
    on_devices(8)
    config = end_to_end(kind, data_dir)
    config.objective.accumulate = 2
    train(config, tmp_path)
    assert_same_run(tmp_path, undisturbed[kind])


def test_batch_norm_is_that_of_the_global_batch(data_dir, tmp_path, on_devices):
    for count in (1, 8):
        on_devices(count)
        config = end_to_end("simclr", data_dir)
        config.model.backbone.norm = config.model.projection.norm = "batch"
        config.optimizer.learning_rate = 0.001  # a run that jumps about amplifies rounding
        train(config, tmp_path / str(count))
    assert_same_run(tmp_path / "1", tmp_path / "8")


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_resume_repeats_the_uninterrupted_run(
    kind, undisturbed, data_dir, tmp_path, on_devices, monkeypatch
):
    on_devices(1)
    config = end_to_end(kind, data_dir)
    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "advance", interrupting_at_step(4))
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
