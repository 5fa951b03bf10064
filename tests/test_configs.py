"""Each config of a run, shrunk to a tiny network, trains two steps and is evaluated."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from small_configs import PYRAMID, RESNET, VIT, make_small_config

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
VARIANTS = [
    f"configs/transfer/{name}"
    for name in ("potsdam_upernet.py:vit_b", "nasc_finetune.py:resnet50", "nasc_linear.py:resnet50")
]


@pytest.mark.parametrize("file", [*FILES, *VARIANTS])
def test_a_config_trains_two_steps_and_evaluates(file, data_dir, tmp_path):
    config = load_config(file)
    resnet = PYRAMID if config.objective.name == "segmentation" else RESNET
    backbone = VIT if config.model.backbone.name.startswith("vit") else resnet
    drop_path = {k: v for k, v in config.model.backbone.items() if k == "drop_path"}
    shrunk = make_small_config(config.objective.name, data_dir, {**backbone, **drop_path})
    shrunk.data.bands = config.data.bands
    # These sections are tested as they are in the file.
    for section in ("optimizer", "schedule"):
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


# Parameters of constructors that are no fields of a section: those that are passed beside it, and
# those that do not affect training.
OTHER_PARAMETERS = {"backbone", "channels", "dtype", "groups", "model", "normalise", "parent"}
OTHER_PARAMETERS |= {"peak", "rgb", "schedule", "steps", "views"}
# Parameters of backbones that the backbone's name determines, and the attention's implementation.
NAMED_PARAMETERS = {"bottleneck", "depth", "dim", "heads", "name", "stages", "width", "attention"}


@pytest.mark.parametrize("file", [file for file in FILES if "/pretrain/" in file])
def test_a_pretraining_config_has_all_hyperparameters(file):
    config = load_config(file)
    objective, schedule = {
        "simclr": (objectives.SimCLR, schedules.cosine),
        "mae": (objectives.MAE, schedules.cosine),
    }[config.objective.name]
    sections = [
        (objective, config.objective, OTHER_PARAMETERS),
        (schedule, config.schedule, OTHER_PARAMETERS),
        (getattr(optimizers, config.optimizer.name), config.optimizer, OTHER_PARAMETERS),
        (getattr(Augmentation, config.augment.train.name), config.augment.train, OTHER_PARAMETERS),
        (
            getattr(models, config.model.backbone.name),
            config.model.backbone,
            OTHER_PARAMETERS | NAMED_PARAMETERS,
        ),
    ]
    if config.objective.name == "simclr":
        sections.append((models.Projection, config.model.projection, OTHER_PARAMETERS | {"name"}))
    else:
        sections.append(
            (models.MaskedAutoencoder, config.model.decoder, OTHER_PARAMETERS | {"name"})
        )
    for constructor, section, others in sections:
        assert set(inspect.signature(constructor).parameters) - others <= set(section), section


def test_a_transfer_run_has_the_pretrained_network_and_its_own_drop_path():
    study = paper.study(load_config("configs/study/paper.py", ["mae.model.backbone.patch_size=15"]))
    runs = {run.name: run.config for run in study.runs}
    pretrained = runs["pretrain/mae_vitb_ben4"].model.backbone
    transferred = runs["aerial/vitb_ssl/seed0"].model.backbone
    assert (pretrained.patch_size, transferred.patch_size) == (15, 15)
    assert (pretrained.drop_path, transferred.drop_path) == (0.0, 0.1)
