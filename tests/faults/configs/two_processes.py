"""A small MAE config that logs, saves and evaluates at different steps."""

import sys
from pathlib import Path

from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))
from small_configs import make_small_config


def get_config() -> ConfigDict:
    config = make_small_config("mae", "")
    config.every.update(save=8, log=3, evaluate=10)
    config.steps = 50
    return config
