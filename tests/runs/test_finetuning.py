"""Fine-tuning and linear probing with small networks, on the tiny demo datasets."""

import math
import shutil

import flax.linen as nn
import jax
import numpy as np
import pytest
from small_configs import RESNET, VIT, assert_same_run, make_small_config, read_losses

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading, saving
from ssl_jax.runs import parts
from ssl_jax.runs.config import load_config
from ssl_jax.runs.parts import networks
from ssl_jax.runs.restoring import restore_or_initialise
from ssl_jax.runs.training import train


def tiny(recipe, data_dir, backbone="vit_b"):
    """Return configs/transfer/nasc_RECIPE.py with a small network, on 40 tiny scenes."""
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


def test_fine_tuning_does_not_depend_on_devices_and_micro_batches(data_dir, tmp_path, on_devices):
    """With mixed examples; tests/objectives tests each kind of mixing separately."""
    for devices, accumulate in ((1, 1), (4, 2)):
        on_devices(devices)
        config = tiny("finetune", data_dir)
        config.data.evaluation, config.objective.accumulate = "", accumulate
        train(config, tmp_path / str(devices))
    assert len(read_losses(tmp_path / "1")) == 5
    assert_same_run(tmp_path / "4", tmp_path / "1")


@pytest.mark.parametrize("backbone", ["vit_b", "resnet50"])
def test_five_steps_of_fine_tuning_lower_the_loss(backbone, data_dir, tmp_path, on_devices):
    on_devices(1)
    config = tiny("finetune", data_dir, backbone)
    config.data.evaluation = config.data.train
    config.optimizer.reference_batch = 0
    config.optimizer.learning_rate *= 4  # for 5 steps
    results = train(config, tmp_path)
    assert read_losses(tmp_path)[0] == pytest.approx(
        math.log(10), abs=0.01
    )  # the head is initialised near zero
    assert results["metrics"]["loss"] < math.log(10) - 0.02


def test_a_batch_size_that_separates_mixed_examples_is_refused(data_dir, tmp_path, on_devices):
    on_devices(8)
    config = tiny("finetune", data_dir)
    config.batch_size = 24
    with pytest.raises(UserError, match=r"multiple of 16 \(8 devices × accumulate 1 × 2 mixed"):
        train(config, tmp_path)


def test_pooling_the_mean_resets_the_norm_and_the_rest_is_pretrained(data_dir, tmp_path):
    pretraining = make_small_config("mae", data_dir)
    pretraining.optimizer.learning_rate = 0.01
    train(pretraining, tmp_path / "mae")
    before = loading.load_variables(tmp_path / "mae")["params"]["backbone"]
    assert np.abs(before["norm"]["scale"] - 1).max() > 1e-3
    for pool, is_reset in (("mean", True), ("cls", False)):
        config = tiny("finetune", data_dir)
        config.pretrained = str(tmp_path / "mae")
        config.model.backbone.pool = pool
        with saving.Checkpointer(tmp_path / pool, 1) as checkpoints:
            state, _ = restore_or_initialise(parts.assemble_run(config), checkpoints)
        after = jax.device_get(state.params["backbone"])
        norm = {"scale": np.ones(24), "bias": np.zeros(24)} if is_reset else before["norm"]
        jax.tree.map(np.testing.assert_array_equal, after, {**before, "norm": norm})


class CountingBackbone(nn.Module):
    """A backbone that reports the number of images in each call."""

    inner: nn.Module
    count: object

    def __call__(self, image, train=False, keys=None):
        jax.debug.callback(lambda: self.count(len(image)))
        return self.inner(image, train)


@pytest.mark.parametrize("backbone", ["vit_b", "resnet50"])
def test_the_backbone_of_a_linear_probe_sees_every_scene_once_for_any_number_of_epochs(
    backbone, data_dir, tmp_path, on_devices, monkeypatch
):
    on_devices(1)
    constructor = networks.BACKBONES[backbone]
    counts = []
    counting = lambda **fields: CountingBackbone(constructor(**fields), counts.append)  # noqa: E731
    monkeypatch.setitem(networks.BACKBONES, backbone, counting)
    totals = {}
    for epochs in (1, 4):
        config = tiny("linear", data_dir, backbone)
        config.model.backbone.name = backbone
        config.model.backbone.update(
            {"depth": 1, "dim": 24, "heads": 3} if backbone == "vit_b" else {"stages": (1, 1, 1, 1)}
        )
        config.epochs, config.steps = float(epochs), 0
        counts.clear()
        results = train(config, tmp_path / str(epochs))
        jax.effects_barrier()
        assert results["steps"] == 2 * epochs
        totals[epochs] = sum(counts)
    # 40 and 40 scenes in padded batches of 16, and a few for the samples and the initialisation.
    assert 96 <= totals[1] <= 96 + 8 + 8
    assert totals[4] == totals[1]


@pytest.mark.parametrize(("backbone", "rate"), [("vit_b", 10.0), ("resnet50", 0.1)])
def test_a_linear_probe_learns(backbone, rate, data_dir, tmp_path, on_devices):
    on_devices(2)
    config = tiny("linear", data_dir, backbone)
    config.epochs, config.steps = 90.0, 0
    # 180 steps are few, especially for LARS.
    config.optimizer.update(learning_rate=rate, reference_batch=0)
    results = train(config, tmp_path)
    assert results["train"]["last_loss"] < 0.8 * results["train"]["first_loss"]
    params = loading.load_variables(tmp_path)["params"]["head"]
    assert set(params) == {"fc"}  # its batch norm has no parameters


def test_a_workdir_refuses_another_backbone_wherever_it_is(trained, data_dir, tmp_path):
    first, second, moved = trained("simclr").workdir, tmp_path / "second", tmp_path / "moved"
    pretraining = make_small_config("simclr", data_dir)
    pretraining.seed, pretraining.steps, pretraining.data.evaluation = 1, 1, ""
    train(pretraining, second)

    config = make_small_config("classification", data_dir)
    config.pretrained = str(first)
    results = train(config, tmp_path / "run")
    shutil.copytree(first, moved)
    config.pretrained = str(moved)
    assert train(config, tmp_path / "run")["metrics"] == results["metrics"]
    config.pretrained = str(second)
    with pytest.raises(UserError, match=rf"starts from the backbone \w+ of {first}; found \w+ in"):
        train(config, tmp_path / "run")
    shutil.rmtree(moved)
    shutil.copytree(second, moved)
    config.pretrained = str(moved)
    with pytest.raises(UserError, match="expected the same weights"):
        train(config, tmp_path / "run")
