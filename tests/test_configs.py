"""Every file a user launches trains two steps and evaluates, shrunk by fields, on the tiny data."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from small import PYRAMID, RESNET, VIT, small

from configs.study import paper
from ssl_jax import models, objectives
from ssl_jax.augment import Augmentation
from ssl_jax.runs.config import load_config
from ssl_jax.runs.evaluation import evaluate_checkpoint
from ssl_jax.runs.training import train
from ssl_jax.training import optimizers, schedules

FILES = sorted(
    str(path)
    for folder in ("pretrain", "transfer")
    for path in Path("configs", folder).glob("*.py")
)
OTHERS = [
    f"configs/transfer/{name}"
    for name in ("potsdam_upernet.py:vit_b", "nasc_finetune.py:resnet50", "nasc_linear.py:resnet50")
]


@pytest.mark.parametrize("file", [*FILES, *OTHERS])
def test_a_config_trains_two_steps_and_evaluates(file, data_dir, tmp_path):
    config = load_config(file)
    resnet = PYRAMID if config.objective.name == "segmentation" else RESNET
    backbone = VIT if config.model.backbone.name.startswith("vit") else resnet
    kept = {k: v for k, v in config.model.backbone.items() if k == "drop_path"}
    shrunk = small(config.objective.name, data_dir, {**backbone, **kept})
    shrunk.data.bands = config.data.bands
    for section in (
        "optimizer",
        "schedule",
    ):  # of the file itself, not of the one `small` starts from
        shrunk[section] = config[section]
    shrunk.schedule.warmup_epochs, shrunk.schedule.warmup_steps = 0.0, 1
    shrunk.steps = 2
    results = train(shrunk, tmp_path)
    assert results["steps"] == 2
    assert np.isfinite(results["train"]["last_loss"])
    assert results["metrics"]
    assert evaluate_checkpoint(tmp_path)["loss"] == pytest.approx(
        results["metrics"]["loss"], rel=1e-4
    )


# What a constructor is given beside its section, what the name of a backbone stands for, and what
# makes no difference to what is learned.
GIVEN = {"backbone", "channels", "dtype", "groups", "model", "normalise", "parent", "peak", "rgb"}
GIVEN |= {"schedule", "steps", "views"}
OF_THE_NAME = {"bottleneck", "depth", "dim", "heads", "name", "stages", "width", "attention"}


@pytest.mark.parametrize("file", [file for file in FILES if "/pretrain/" in file])
def test_a_config_of_pretraining_hides_no_hyper_parameter(file):
    config = load_config(file)
    objective, schedule = {
        "simclr": (objectives.SimCLR, schedules.cosine),
        "mae": (objectives.MAE, schedules.cosine),
    }[config.objective.name]
    sections = [
        (objective, config.objective, GIVEN),
        (schedule, config.schedule, GIVEN),
        (getattr(optimizers, config.optimizer.name), config.optimizer, GIVEN),
        (getattr(Augmentation, config.augment.train.name), config.augment.train, GIVEN),
        (getattr(models, config.model.backbone.name), config.model.backbone, GIVEN | OF_THE_NAME),
    ]
    if config.objective.name == "simclr":
        sections.append((models.Projection, config.model.projection, GIVEN | {"name"}))
    else:
        sections.append((models.MaskedAutoencoder, config.model.decoder, GIVEN | {"name"}))
    for constructor, section, given in sections:
        assert set(inspect.signature(constructor).parameters) - given <= set(section), section


def test_a_transfer_has_the_pretrained_network_and_its_own_drop_path():
    study = paper.study(load_config("configs/study/paper.py", ["mae.model.backbone.patch_size=15"]))
    runs = {run.name: run.config for run in study.runs}
    pretrained = runs["pretrain/mae_vitb_ben4"].model.backbone
    transferred = runs["aerial/vitb_ssl/seed0"].model.backbone
    assert (pretrained.patch_size, transferred.patch_size) == (15, 15)
    assert (pretrained.drop_path, transferred.drop_path) == (0.0, 0.1)
