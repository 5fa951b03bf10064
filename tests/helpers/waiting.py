"""Waiting for other processes, with one generous timeout against hangs."""

import subprocess
import time
from collections.abc import Callable

TIMEOUT_SECONDS = 900  # many times the duration of any test, even on a busy machine


def wait_for(condition: Callable[[], object], *processes: subprocess.Popen) -> None:
    """Wait until a condition holds; fails if one of the processes ends before."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "timeout"
        time.sleep(0.01)
