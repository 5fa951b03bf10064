"""Waiting for what another process does: the one limit is against hangs."""

import subprocess
import time
from collections.abc import Callable

HANG = 900  # seconds: many times what any test takes, on however busy a machine


def wait_for(condition: Callable[[], object], *processes: subprocess.Popen) -> None:
    """Wait until a condition holds, for which all the processes must go on living."""
    end = time.monotonic() + HANG
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
