"""Pretraining and the near infrared improve the accuracy, at the size of the quickstart."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from ssl_jax.runs.config import load_config
from ssl_jax.studies.execution import execute_study, load_study

path, folder = "configs/study/quickstart.py", Path(sys.argv[1])
config = load_config(path, [f"data_dir={folder / 'data'}"])
study = load_study(path, config)
selected = [run for run in study.runs if run.name in sys.argv[2:]]
execute_study(study, folder, selected)
"""
BACKBONES = ("simclr_resnet50_ben4", "simclr_resnet50_ben3", "random_resnet50")


@pytest.fixture(scope="module")
def top1(tmp_path_factory):
    """Return the top-1 accuracy on 480 scenes of a head trained on 120, by its frozen backbone."""
    folder = tmp_path_factory.mktemp("study")
    transfers = {name: f"scenes/{name}/2-8/seed0" for name in BACKBONES}
    runs = [*transfers.values(), *(f"pretrain/{name}" for name in BACKBONES[:2])]
    # In another process, because XLA_FLAGS of this one trade speed for short compile times.
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", SCRIPT, folder, *runs], check=True, env=environment)
    results = {
        name: json.loads((folder / run / "results.json").read_text())
        for name, run in transfers.items()
    }
    assert all(r["data"]["train"] == 120 for r in results.values())
    assert all(r["data"]["evaluation"] == 480 for r in results.values())
    return {name: r["metrics"]["top1"] for name, r in results.items()}


def test_frozen_ssl_features_beat_random_features(top1):
    assert top1["simclr_resnet50_ben4"] > top1["random_resnet50"] + 0.10


def test_four_bands_beat_three(top1):
    assert top1["simclr_resnet50_ben4"] > top1["simclr_resnet50_ben3"] + 0.04
