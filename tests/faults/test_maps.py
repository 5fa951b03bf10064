"""kill -9 at thirty moments of the mapping of a scene, each time resumed: the same bytes.

The thirty are taken in turn on 1, 2 and 8 devices. With `--kills N` only half of N are tried.
"""

import os
import random
import signal
import subprocess
import sys
import time

import jax_environment
import numpy as np
import pytest
from prediction.aerial_scenes import read_demo_images, write_scene
from waiting import wait_for

ALL_KILLS = 30
DEVICES = (1, 2, 8)
FILES = ("classes.tif", "confidence.tif")


def start(workdir, scene, folder, devices):
    arguments = ["--checkpoint", workdir, "--window", "32", "--stride", "16", "--out", folder]
    return subprocess.Popen(
        [sys.executable, "-m", "ssl_jax.predict", scene, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **jax_environment.make_environment(devices)},
    )


def complete(workdir, scene, folder, devices):
    process = start(workdir, scene, folder, devices)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture(scope="module")
def scene(data_dir, tmp_path_factory):
    images = [each["image"] for each in read_demo_images(data_dir)]
    row = np.concatenate(images[:2], axis=1)
    image = np.concatenate([row, row[:, ::-1]] * 9)[:1117, :117]
    image[:50, :40] = 0
    return write_scene(tmp_path_factory.mktemp("scenes") / "scene.tif", image, nodata=0)


def test_maps_are_the_same_bytes_after_kills(trained, scene, tmp_path, faults, request):
    workdir = trained("segmentation").workdir
    expected = complete(workdir, scene, tmp_path / "uninterrupted", 1)
    rng = random.Random(0)
    phases = [rng.choice(["block"] * 8 + ["assembly", "start"]) for _ in range(ALL_KILLS)]
    kills = min(request.config.getoption("kills") // 2, ALL_KILLS)
    folder, number, same = tmp_path / "map0", 0, 0
    for kill in range(kills):
        phase, devices = phases[kill], DEVICES[kill % 3]
        process = start(workdir, scene, folder, devices)
        blocks = folder / ".blocks" / "confidence"
        before = len(list(blocks.glob("*.tif"))) if blocks.exists() else 0
        if phase == "block":
            wait_for(
                lambda blocks=blocks, before=before: (
                    blocks.exists() and len(list(blocks.glob("*.tif"))) > before
                ),
                process,
            )
        elif phase == "assembly":
            wait_for(lambda folder=folder: list(folder.glob(".blocks/*.vrt")), process)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        is_nearly_done = len(list(blocks.glob("*.tif"))) > 5 if blocks.exists() else False
        if is_nearly_done or phase == "assembly" or kill == kills - 1:
            same += complete(workdir, scene, folder, devices) == expected
            number += 1
            folder = tmp_path / f"map{number}"
    faults.record(f"kill -9 of a map, {kills} times", number, same, "the same command goes on")
