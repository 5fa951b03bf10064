"""SimCLR make_pretraining_config on real tiles, and segmentation of a scene with and without it."""

import numpy as np
import pytest
from realdata.recipes import RESNET, SCENE, SMALL, make_pretraining_config

from ssl_jax.runs.config import load_config
from ssl_jax.runs.training import train


@pytest.fixture(scope="module")
def simclr_on_naip(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simclr")
    config = make_pretraining_config(
        "simclr_resnet50_ben4", "geotiff_tiles/naip", data_dir, steps=80
    )
    return folder, train(config, folder)


def test_simclr_learns_on_real_tiles(simclr_on_naip):
    losses = simclr_on_naip[1]["train"]
    print(f"\nSimCLR on NAIP: loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}")
    assert losses["last_loss"] < 0.8 * losses["first_loss"]


def make_segmentation_config(data_dir, pretrained):
    config = load_config("configs/transfer/potsdam_upernet.py", SMALL)
    config.data.update(name=SCENE, data_dir=str(data_dir), threads=2)
    config.model.backbone = RESNET
    config.model.upernet.update(channels=32, auxiliary_channels=32)
    config.objective.excluded = ()
    config.augment.train.size = 64
    config.optimizer.learning_rate = 0.05
    config.batch_size = 16
    config.steps = 60
    config.every.evaluate = 0
    config.pretrained = str(pretrained)
    return config


def test_upernet_on_the_scene_with_and_without_ssl(data_dir, simclr_on_naip, tmp_path):
    """Trains on the left half, tests on the right half, and must exceed the majority class."""
    metrics = {}
    for name, pretrained in (("without SSL", ""), ("with SSL", simclr_on_naip[0])):
        results = train(make_segmentation_config(data_dir, pretrained), tmp_path / name)
        metrics[name] = results["metrics"]
        print(
            f"\nUperNet on the Sentinel-2 scene {name}: mIoU {metrics[name]['mIoU']:.3f}, "
            f"OA {metrics[name]['OA']:.3f}"
        )
    labels = np.array(results["confusion"]).sum(axis=1)
    majority = labels.max() / labels.sum() / len(labels)  # mIoU of predicting "land" everywhere
    assert labels.sum() == 512 * 256
    assert metrics["without SSL"]["mIoU"] > majority + 0.15
    assert metrics["with SSL"]["mIoU"] > majority + 0.15
