"""Processes that train the runs of a study side by side."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

__all__ = ["train_side_by_side"]


@contextlib.contextmanager
def train_side_by_side(count: int, argv: Sequence[str]) -> Iterator[None]:
    """Start further processes that train runs of a study, and wait for them after the `with` block.

    Each trains what none of the others does. If the block raises an exception, they are told to
    stop, which saves their runs, and are waited for.

    Args:
        count: Number of processes.
        argv: The arguments of the study's command.
    """
    command = [sys.executable, "-m", "ssl_jax.study", *argv, "--jobs=1", "--no_report"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            process.terminate()  # does nothing to one that has ended
            process.wait()
