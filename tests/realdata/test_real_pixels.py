"""The whole chain on real pixels: pretrain on tiles, segment a scene with and without SSL.

Reads the folder `SSL_JAX_REALDATA` names; skipped where the variable is not set.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.build import build
from ssl_jax.terminal import load_config
from ssl_jax.train import train

REALDATA = os.environ.get("SSL_JAX_REALDATA", "")
SCENE = f"{Path(__file__).with_name('sentinel2_scene.py')}"

pytestmark = pytest.mark.skipif(not REALDATA, reason="SSL_JAX_REALDATA is not set")

SMALL = ["batch_size=64", "epochs=0.0", "schedule.warmup_epochs=0.0", "every.log=10"]
RESNET = {"name": "resnet18", "stages": (1, 1, 1, 1), "width": 16}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    build("geotiff_tiles/naip", folder, manual_dir=Path(REALDATA, "naip_rgbn"))
    patches = Path(REALDATA, "bigearthnet_v1")
    build("bigearthnet/v1/rgbn", folder, manual_dir=patches, fields=["lists=,", "name=v1/real"])
    build(SCENE, folder, manual_dir=Path(REALDATA, "sentinel2_mask"))
    return folder


def pretraining(kind, dataset, data_dir, steps):
    config = load_config(f"configs/pretrain/{kind}.py", SMALL)
    config.data.update(name=dataset, data_dir=str(data_dir), train="train", threads=2)
    config.probe.update(train="train", evaluation="validation")
    config.steps = steps
    config.augment.train.size = 48
    config.schedule.warmup_steps = 10
    if kind.startswith("simclr"):
        config.model.backbone = RESNET
        config.model.projection.update(hidden=256, out=64)
        config.optimizer.learning_rate = 1.0
    else:
        config.model.backbone = {"name": "vit_ti", "depth": 4, "patch_size": 8, "image_size": 48}
        config.model.decoder.update(dim=96, depth=2, heads=3)
        config.optimizer.learning_rate = 4e-3
    return config


@pytest.fixture(scope="module")
def simclr_on_naip(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simclr")
    config = pretraining("simclr_resnet50_ben4", "geotiff_tiles/naip", data_dir, steps=80)
    return folder, train(config, folder)


def test_simclr_learns_on_real_tiles(simclr_on_naip):
    losses = simclr_on_naip[1]["train"]
    print(f"\nSimCLR on NAIP: loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}")
    assert losses["last_loss"] < 0.8 * losses["first_loss"]


def test_mae_learns_on_real_tiles(data_dir, tmp_path):
    config = pretraining("mae_vitb_ben4", "geotiff_tiles/naip", data_dir, steps=150)
    losses = train(config, tmp_path)["train"]
    print(f"\nMAE on NAIP: loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}")
    assert losses["last_loss"] < 0.9 * losses["first_loss"]


def test_mae_learns_on_bigearthnet_patches(data_dir, tmp_path):
    config = pretraining("mae_vitb_ben4", "bigearthnet/v1/real", data_dir, steps=100)
    config.batch_size = 8
    config.data.train = "all"
    config.probe.train = ""  # the patches are in no official split
    config.optimizer.reference_batch = 0
    config.optimizer.learning_rate = 1e-3
    losses = train(config, tmp_path)["train"]
    print(f"\nMAE on BigEarthNet: loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}")
    assert losses["last_loss"] < 0.9 * losses["first_loss"]


def segmentation(data_dir, pretrained):
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
    """The left half trains, the right half tests; the majority class alone is what to beat."""
    figures = {}
    for name, pretrained in (("without SSL", ""), ("with SSL", simclr_on_naip[0])):
        results = train(segmentation(data_dir, pretrained), tmp_path / name)
        figures[name] = results["metrics"]
        print(
            f"\nUperNet on the Sentinel-2 scene {name}: mIoU {figures[name]['mIoU']:.3f}, "
            f"OA {figures[name]['OA']:.3f}"
        )
    labels = np.array(results["confusion"]).sum(axis=1)
    majority = labels.max() / labels.sum() / len(labels)  # mIoU of saying "land" everywhere
    assert labels.sum() == 512 * 256
    assert figures["without SSL"]["mIoU"] > majority + 0.15
    assert figures["with SSL"]["mIoU"] > majority + 0.15
