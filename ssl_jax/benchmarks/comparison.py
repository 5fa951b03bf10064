"""Comparison of two implementations that repeat the same workload in turn."""

import contextlib
import json
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["Measurement", "Worker", "compare", "start_worker"]


@dataclass(frozen=True)
class Measurement:
    """The times of one implementation.

    Attributes:
        images: Number of images of a repetition.
        seconds: Seconds of each repetition.
        peak_rss_bytes: Peak memory of its process.
        versions: Versions of its packages.
    """

    images: int
    seconds: Sequence[float]
    peak_rss_bytes: int
    versions: Mapping[str, str]

    @property
    def median(self) -> float:
        """Median of the seconds of a repetition."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Worker:
    """A process that has warmed up and repeats a workload on request; see `worker`.

    Attributes:
        command: Its command.
        process: The process.
        description: The first line that it printed.
    """

    command: Sequence[str]
    process: subprocess.Popen[str]
    description: Mapping[str, Any]

    def repeat(self) -> float:
        """Repeat the workload, and return the seconds that it took."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: reading its line says so
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return _read_line(self.process, self.command)["seconds"]

    def finish(self) -> int:
        """End the process, and return its peak memory in bytes."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        peak = _read_line(self.process, self.command)["peak_rss_bytes"]
        self.process.wait()
        return peak


@contextlib.contextmanager
def start_worker(command: Sequence[str]) -> Iterator[Worker]:
    """Start a worker, wait until it has warmed up, and end it after the `with` block.

    Raises:
        UserError: If it fails; its own error is on stderr.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield Worker(command, process, _read_line(process, command))
    finally:
        process.kill()
        process.wait()


def _read_line(process: subprocess.Popen[str], command: Sequence[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise UserError(
            f"benchmark {' '.join(command)}: printed {line.strip()!r}; expected a line of JSON. "
            "Run it alone to see its error"
        ) from None


def compare(commands: Sequence[Sequence[str]], rounds: int) -> list[Measurement]:
    """Measure implementations in turn, so that noise of the machine affects all alike.

    The first repetition of each turn doesn't count: virtual machines may return memory that was
    free during the turn of the others to their host, and take seconds to have gigabytes of it back.

    Args:
        commands: The commands of their workers.
        rounds: Number of repetitions of each.

    Returns:
        Their measurements.

    Raises:
        UserError: If a worker fails.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(start_worker(command)) for command in commands]
        seconds: list[list[float]] = [[] for _ in workers]
        for _ in range(rounds):
            for worker, times in zip(workers, seconds, strict=True):
                worker.repeat()
                times.append(worker.repeat())
        return [
            Measurement(
                worker.description["images"],
                times,
                worker.finish(),
                worker.description["versions"],
            )
            for worker, times in zip(workers, seconds, strict=True)
        ]
