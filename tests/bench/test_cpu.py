"""The goals of `python -m ssl_jax.bench cpu`, on an idle machine."""

import json
import subprocess
import sys

import pytest

RATIOS = {"mae": 1.0, "simclr": 0.6, "features": 0.9, "loop": 0.97}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    command = [sys.executable, "-m", "ssl_jax.bench", "cpu", "--against", "torch"]
    subprocess.run([*command, "--json", str(file)], check=True)
    return json.loads(file.read_text())["rows"]


@pytest.mark.parametrize("name", RATIOS)
def test_the_speed_ratio(rows, name):
    own, other = rows[name]["medians"]
    assert other / own >= RATIOS[name]


def test_the_start(rows):
    assert rows["start"]["help"] < 1.5
    assert rows["start"]["warm"] < 10
