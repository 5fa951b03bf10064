"""The speed of sweeps beside their network alone, and the memory that they take.

Run with `./launch/test.sh --bench`, preferably on an idle machine.
"""

import json
import os
import subprocess
import sys

import pytest


def measure(*arguments):
    """Run `scene_sweeps.py` in a process whose programs are compiled to run fast."""
    variables = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "tests/bench/scene_sweeps.py", *map(str, arguments)]
    environment = {**variables, "PYTHONPATH": os.getcwd()}
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("name", "size", "window"), [("tiny", 1024, 64), ("tiny", 2048, 256), ("upernet", 384, 128)]
)
def test_a_sweep_is_nearly_as_fast_as_its_network(name, size, window):
    measured = measure(name, size, size, window)
    (swept, swept_cpu), (bare, bare_cpu) = measured["sweep"], measured["network"]
    print(
        f"\n{name}, windows of {window} px: {swept:.1f} windows/s in a sweep, {bare:.1f} of the "
        f"network alone: {swept / bare:.0%}, in seconds of all cores {bare_cpu / swept_cpu:.0%}; "
        f"{swept * (window / 2) ** 2 / 1e6:.2f} Mpx/s; {measured['peak_mib']:.0f} MiB"
    )
    assert swept >= 0.85 * bare


def test_peak_memory_does_not_grow_with_the_image():
    peaks = [measure("copy", height, 4096, 64)["peak_mib"] for height in (2048, 16384)]
    print("\npeak memory of sweeps of 2,048 and 16,384 rows:", *(f"{p:.0f} MiB" for p in peaks))
    assert peaks[1] < 1.15 * peaks[0]
