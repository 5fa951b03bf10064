"""A study of three runs on tiny datasets: `first`, `second`, and `third`, which needs `second`.

$FAULTS_CORRUPT is the folder of the datasets of `first`.

$FAULTS_SLEEP, such as `1 12`, lets process 1 sleep before step 12. $FAULTS_NO_LOCKS=1 takes the
locks of the operating system away, as on a file system without them.
"""

import errno
import fcntl
import os
import sys
import time
from pathlib import Path

from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))
from small_configs import VIT, make_small_config

from ssl_jax.studies.plan import Run, Study
from ssl_jax.training import steps


def get_config() -> ConfigDict:
    config = make_small_config("mae", "")
    config.every.update(save=8)
    config.steps = 16
    return config


def study(config: ConfigDict) -> Study:
    simulate_faults()
    first = ConfigDict(config.to_dict())
    first.data.data_dir = os.environ.get("FAULTS_CORRUPT", config.data.data_dir)
    third = make_small_config("classification", config.data.data_dir, VIT)
    third.model.backbone.pool = "mean"
    runs = (Run("first", first), Run("second", config), Run("third", third, ("second",)))
    return Study("three runs", runs, ())


def simulate_faults() -> None:
    process, step = os.environ.get("FAULTS_SLEEP", "-1 0").split()
    if process == os.environ["FAULTS_PROCESS"]:
        sleep_before(int(step))
    if "FAULTS_NO_LOCKS" in os.environ:
        fcntl.flock = refuse_lock


def sleep_before(step: int) -> None:
    original = steps.make_train_step

    def make_train_step(*arguments):
        train_step = original(*arguments)

        def sleeping_step(state, batch):
            if int(state.step) + 1 == step:
                print("sleeping", flush=True)
                time.sleep(1e6)
            return train_step(state, batch)

        return sleeping_step

    steps.make_train_step = make_train_step


def refuse_lock(descriptor: int, operation: int) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
