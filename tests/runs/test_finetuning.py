"""Fine-tuning and linear probing as their configs have it, small, on the tiny data."""

import math

import flax.linen as nn
import jax
import numpy as np
import pytest
from small import RESNET, VIT, assert_same_run, losses, small

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading, saving
from ssl_jax.runs import parts
from ssl_jax.runs.config import load_config
from ssl_jax.runs.parts import networks
from ssl_jax.runs.restoring import restore_or_initialise
from ssl_jax.runs.training import train


def tiny(recipe, data_dir, backbone="vit_b"):
    """configs/transfer/nasc_RECIPE.py with a small network, on 40 tiny scenes."""
    config = load_config(f"configs/transfer/nasc_{recipe}.py:{backbone}")
    config.data.update(name="demo_scenes/tiny", data_dir=str(data_dir), threads=0)
    config.data.train, config.data.evaluation = "all[5:5]", "all[5:5].rest"
    config.model.backbone.update(VIT if backbone == "vit_b" else RESNET)
    for views in config.augment.values():
        views.size = 32
    config.batch_size = 16
    config.epochs, config.steps = 0.0, 5
    config.schedule.warmup_epochs = 0.0
    config.every.update(log=1, save=0)
    return config


def test_fine_tuning_is_the_same_on_any_devices_and_however_accumulated(
    data_dir, tmp_path, on_devices
):
    """Of batches that are mixed; tests/objectives has each way to mix by itself."""
    for devices, accumulate in ((1, 1), (4, 2)):
        on_devices(devices)
        config = tiny("finetune", data_dir)
        config.data.evaluation, config.objective.accumulate = "", accumulate
        train(config, tmp_path / str(devices))
    assert len(losses(tmp_path / "1")) == 5
    assert_same_run(tmp_path / "4", tmp_path / "1")


@pytest.mark.parametrize("backbone", ["vit_b", "resnet50"])
def test_five_steps_of_fine_tuning_lower_the_loss(backbone, data_dir, tmp_path, on_devices):
    on_devices(1)
    config = tiny("finetune", data_dir, backbone)
    config.data.evaluation = config.data.train
    config.optimizer.reference_batch = 0
    config.optimizer.learning_rate *= 4  # for 5 steps
    results = train(config, tmp_path)
    assert losses(tmp_path)[0] == pytest.approx(math.log(10), abs=0.01)  # its head starts near zero
    assert results["metrics"]["loss"] < math.log(10) - 0.02


def test_a_batch_that_parts_neighbours_is_refused_before_training(data_dir, tmp_path, on_devices):
    on_devices(8)
    config = tiny("finetune", data_dir)
    config.batch_size = 24
    with pytest.raises(UserError, match=r"multiple of 16 \(8 devices × accumulate 1 × 2 that are"):
        train(config, tmp_path)


def test_the_mean_of_the_patches_gets_a_fresh_norm_and_the_rest_is_pretrained(data_dir, tmp_path):
    pretraining = small("mae", data_dir)
    pretraining.optimizer.learning_rate = 0.01
    train(pretraining, tmp_path / "mae")
    before = loading.load_variables(tmp_path / "mae")["params"]["backbone"]
    assert np.abs(before["norm"]["scale"] - 1).max() > 1e-3
    for pool, fresh in (("mean", True), ("cls", False)):
        config = tiny("finetune", data_dir)
        config.pretrained = str(tmp_path / "mae")
        config.model.backbone.pool = pool
        with saving.Checkpointer(tmp_path / pool, 1) as checkpoints:
            state, _ = restore_or_initialise(parts.assemble_run(config), checkpoints)
        after = jax.device_get(state.params["backbone"])
        norm = {"scale": np.ones(24), "bias": np.zeros(24)} if fresh else before["norm"]
        jax.tree.map(np.testing.assert_array_equal, after, {**before, "norm": norm})


class Counted(nn.Module):
    """A backbone that tells how many images it is shown."""

    inner: nn.Module
    seen: object

    def __call__(self, image, train=False, keys=None):
        jax.debug.callback(lambda: self.seen(len(image)))
        return self.inner(image, train)


@pytest.mark.parametrize("backbone", ["vit_b", "resnet50"])
def test_a_linear_probe_shows_the_backbone_every_scene_once_however_many_epochs(
    backbone, data_dir, tmp_path, on_devices, monkeypatch
):
    on_devices(1)
    constructor = networks.BACKBONES[backbone]
    images = []
    counted = lambda **fields: Counted(constructor(**fields), images.append)  # noqa: E731
    monkeypatch.setitem(networks.BACKBONES, backbone, counted)
    shown = {}
    for epochs in (1, 4):
        config = tiny("linear", data_dir, backbone)
        config.model.backbone.name = backbone
        config.model.backbone.update(
            {"depth": 1, "dim": 24, "heads": 3} if backbone == "vit_b" else {"stages": (1, 1, 1, 1)}
        )
        config.epochs, config.steps = float(epochs), 0
        images.clear()
        results = train(config, tmp_path / str(epochs))
        jax.effects_barrier()
        assert results["steps"] == 2 * epochs
        shown[epochs] = sum(images)
    # 40 and 40 scenes in batches of 16 filled up, and a few for the samples and for the shapes.
    assert 96 <= shown[1] <= 96 + 8 + 8
    assert shown[4] == shown[1]


@pytest.mark.parametrize(("backbone", "rate"), [("vit_b", 10.0), ("resnet50", 0.1)])
def test_a_linear_probe_learns(backbone, rate, data_dir, tmp_path, on_devices):
    on_devices(2)
    config = tiny("linear", data_dir, backbone)
    config.epochs, config.steps = 90.0, 0
    # 180 steps are few, for LARS above all.
    config.optimizer.update(learning_rate=rate, reference_batch=0)
    results = train(config, tmp_path)
    assert results["train"]["last_loss"] < 0.8 * results["train"]["first_loss"]
    params = loading.load_variables(tmp_path)["params"]["head"]
    assert set(params) == {"fc"}  # its batch norm has no parameters
