"""Configs of `configs/`, scaled down to train in seconds, and helpers to compare runs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from ssl_jax.checkpoints import loading
from ssl_jax.devices import mesh
from ssl_jax.runs.config import load_config
from ssl_jax.training.metric_writer import read_records

RESNET = {"name": "resnet18", "stages": (1, 1), "width": 8, "norm": "group"}
PYRAMID = {**RESNET, "stages": (1, 1, 1, 1)}  # UperNet requires four stages
VIT = {"name": "vit_ti", "depth": 2, "dim": 24, "heads": 3, "patch_size": 8, "image_size": 32}


def make_small_config(kind: str, data_dir: object, backbone: dict | None = None) -> ConfigDict:
    """Load a config of `configs/`, scaled down for the tiny demo datasets.

    Args:
        kind: Simclr, mae, classification or segmentation.
        data_dir: Folder of the prepared tiny datasets.
        backbone: The backbone section of the config. Default: a small backbone of the kind.
    """
    file, dataset = {
        "simclr": ("pretrain/simclr_resnet50_ben4", "demo_tiles/tiny"),
        "mae": ("pretrain/mae_vitb_ben4", "demo_tiles/tiny"),
        "classification": ("transfer/nasc_mlp", "demo_scenes/tiny"),
        "segmentation": ("transfer/potsdam_upernet", "demo_aerial/tiny"),
    }[kind]
    config = load_config(f"configs/{file}.py")
    config.data.update(name=dataset, data_dir=str(data_dir), threads=0)
    config.data.train, config.data.evaluation = {
        "simclr": ("train", "validation"),
        "mae": ("train", "validation"),
        "classification": ("all[5:5]", "all[5:5].rest"),
        "segmentation": ("train", "test"),
    }[kind]
    defaults = {"mae": VIT, "segmentation": PYRAMID}
    config.model.backbone = backbone or defaults.get(kind, RESNET)
    if kind == "simclr":
        config.model.projection = {"hidden": 16, "out": 8, "layers": 2, "norm": "group"}
    if kind == "mae":
        config.model.decoder = {"dim": 16, "depth": 1, "heads": 2}
    if kind == "classification":
        config.model.head.hidden = (16,)
        config.search.learning_rates = ()
    if kind == "segmentation":
        config.model.upernet = {"channels": 8, "auxiliary_channels": 8, "norm": "group"}
    for views in config.augment.values():
        views.size = 32
    config.batch_size = 16
    config.epochs, config.steps = 0.0, 5
    config.schedule.warmup_epochs, config.schedule.warmup_steps = 0.0, 0
    config.optimizer.reference_batch = 0
    config.every.update(log=1, save=0, evaluate=0)
    if "probe" in config:
        config.probe.train = ""
    return config


class FinishedRun(NamedTuple):
    """A completed run: its workdir, config and results."""

    workdir: Path
    config: ConfigDict
    results: dict[str, Any]


@contextlib.contextmanager
def limit_devices(count: int) -> Iterator[None]:
    """Restrict runs to the first `count` devices."""
    data_mesh = mesh.make_data_mesh(jax.devices()[:count])
    with mock.patch("ssl_jax.runs.parts.run.make_data_mesh", return_value=data_mesh):
        yield


def get_config(kind: str) -> ConfigDict:
    """Return a config for commands: `--config tests/helpers/small_configs.py:mae`."""
    return make_small_config(kind, "")


def read_losses(workdir):
    """Read the training losses from the log of a run."""
    records = read_records(workdir / "metrics.jsonl")
    return np.array([record["loss"] for record in records if record["phase"] == "train"])


def assert_same_run(first, second, tolerance=1e-5):
    """Check that the losses and the final parameters of two runs agree."""
    np.testing.assert_allclose(read_losses(first), read_losses(second), rtol=tolerance)
    actual, expected = (loading.load_variables(workdir) for workdir in (first, second))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), actual, expected)
