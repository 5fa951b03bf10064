"""Every file a user launches trains two steps and evaluates, shrunk by fields, on the tiny data."""

from pathlib import Path

import numpy as np
import pytest
from small import RESNET, VIT, small

from ssl_jax.evaluate import evaluate
from ssl_jax.terminal import load_config
from ssl_jax.train import train

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
    backbone = VIT if config.model.backbone.name.startswith("vit") else RESNET
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
    assert evaluate(tmp_path)["loss"] == pytest.approx(results["metrics"]["loss"], rel=1e-4)
