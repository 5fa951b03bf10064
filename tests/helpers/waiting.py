"""Waiting for other processes, with one generous timeout against hangs."""

import fnmatch
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

TIMEOUT_SECONDS = 900  # many times the duration of any test, even on a busy machine


def wait_for(condition: Callable[[], object], *processes: subprocess.Popen) -> None:
    """Wait until a condition holds; fails if one of the processes ends before."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "timeout"
        time.sleep(0.01)


def wait_for_file(folder: Path, pattern: str, *processes: subprocess.Popen) -> None:
    """Wait until a file or folder with a matching name exists at any depth below a folder.

    The processes may create and delete others meanwhile, at which `Path.rglob` of Python before
    3.13 raises FileNotFoundError.
    """
    wait_for(
        lambda: any(
            fnmatch.filter([*folders, *files], pattern) for _, folders, files in os.walk(folder)
        ),
        *processes,
    )
