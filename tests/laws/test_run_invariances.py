"""A run gives the same result on other devices, in micro-batches and after an interruption.

For all objectives, the result is compared with that of an uninterrupted run on one device.
"""

import pytest
from small_configs import assert_same_run, limit_devices, make_small_config, read_losses

from ssl_jax.runs.training import train
from ssl_jax.training.metric_writer import MetricWriter

OBJECTIVES = ("simclr", "mae", "classification", "segmentation")


def make_config(kind, data_dir):
    """Create a config with random augmentation and no frozen parameters, without evaluation."""
    config = make_small_config(kind, data_dir)
    config.data.evaluation = ""
    config.every.save = 3
    if kind == "classification":
        config.objective.frozen = False
        config.augment.train = {"name": "finetune", "size": 32}
    return config


@pytest.fixture(scope="module")
def uninterrupted(trained, data_dir, tmp_path_factory):
    """The workdirs of uninterrupted runs of five steps on one device, by kind."""
    folders = {kind: trained(kind).workdir for kind in OBJECTIVES if kind != "classification"}
    folders["classification"] = tmp_path_factory.mktemp("classification")
    with limit_devices(1):
        train(make_config("classification", data_dir), folders["classification"])
    assert all(len(read_losses(folder)) == 5 for folder in folders.values())
    return folders


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_eight_devices_in_micro_batches_repeat_one_device_with_full_batches(
    kind, uninterrupted, data_dir, tmp_path, on_devices
):
    """If this fails, tests/objectives shows whether devices or micro-batches are the cause."""
    on_devices(8)
    config = make_config(kind, data_dir)
    config.objective.accumulate = 2
    train(config, tmp_path)
    assert_same_run(tmp_path, uninterrupted[kind])


def test_batch_norm_is_that_of_the_global_batch(data_dir, tmp_path, on_devices):
    for count in (1, 8):
        on_devices(count)
        config = make_config("simclr", data_dir)
        config.model.backbone.norm = config.model.projection.norm = "batch"
        config.optimizer.learning_rate = 0.001  # larger steps amplify rounding errors
        train(config, tmp_path / str(count))
    assert_same_run(tmp_path / "1", tmp_path / "8")


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_resume_repeats_the_uninterrupted_run(
    kind, uninterrupted, data_dir, tmp_path, on_devices, monkeypatch
):
    on_devices(1)
    config = make_config(kind, data_dir)
    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "advance", make_interrupting_advance(4))
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path)
    assert not (tmp_path / "results.json").exists()
    train(config, tmp_path)
    assert_same_run(tmp_path, uninterrupted[kind], tolerance=0)


def make_interrupting_advance(interrupted_step):
    """Make a replacement of `MetricWriter.advance` that raises Ctrl-C's exception at a step."""

    def advance(writer, step, loss):
        if step == interrupted_step:
            raise KeyboardInterrupt

    return advance
