"""A small MAE config that logs, saves and evaluates at different steps; `:search` is a search.

`:segmentation` evaluates whole images. $FAULTS_STALE lists names of files that process 1 does not
see, as with a stale cache of NFS. $FAULTS_SIGNAL_IN_SWEEP is the group of windows of an evaluation
at which process 1 gets SIGUSR1.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))
from small_configs import make_small_config

from ssl_jax.training.shutdown import ShutdownSignal


def get_config(kind: str = "mae") -> ConfigDict:
    if os.environ["FAULTS_PROCESS"] == "1":
        hide_files(os.environ.get("FAULTS_STALE", "").split())
        if group := int(os.environ.get("FAULTS_SIGNAL_IN_SWEEP", "0")):
            send_signal(group)
    if kind == "segmentation":
        config = make_small_config("segmentation", "")
        config.evaluation = {"window": 32, "stride": 24, "flips": False}
        config.every.evaluate = 2
        config.steps = 4
        return config
    if kind == "search":
        config = make_small_config("classification", "")
        config.search.learning_rates = (0.01, 0.1)
        config.steps = 2
        return config
    config = make_small_config("mae", "")
    config.every.update(save=8, log=3, evaluate=10)
    config.steps = 50
    return config


def hide_files(names: list[str]) -> None:
    original = os.stat

    def stat(path, *arguments, **keywords):
        if isinstance(path, str | os.PathLike) and Path(path).name in names:
            raise FileNotFoundError(path)
        return original(path, *arguments, **keywords)

    os.stat = stat


def send_signal(group: int) -> None:
    original, groups = ShutdownSignal.is_announced, itertools.count(1)

    def is_announced(stop):
        if next(groups) == group:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(stop)

    ShutdownSignal.is_announced = is_announced
