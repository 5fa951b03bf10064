"""A small MAE whose records, bundles and evaluations fall on different steps."""

import sys
from pathlib import Path

from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))
from small import small


def get_config() -> ConfigDict:
    config = small("mae", "")
    config.every.update(save=8, log=3, evaluate=10)
    config.steps = 50
    return config
