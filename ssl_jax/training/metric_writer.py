"""What a run tells: `metrics.jsonl`, TensorBoard, and a progress bar at the terminal."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from rich.progress import Progress

from data_pipelines.files.writing import write_text
from data_pipelines.preparing.progress import progress_bar
from ssl_jax.training.tensorboard import TensorBoardWriter

__all__ = ["MetricWriter", "read_records"]


class MetricWriter:
    """The log of a run, continued where an earlier process left off.

    A context manager. Records of steps after `start` are dropped on opening: they stem from a
    process that went on after its last bundle, and those steps are about to be run again.

    Args:
        workdir: the run's folder.
        start: the step the run (re)starts from.
        steps: the step it ends at.
        batch_size: examples a step, for the rate.

    In a job of several processes only the first writes.
    """

    def __init__(self, workdir: Path, start: int, steps: int, batch_size: int) -> None:
        self._start = start
        self._batch_size = batch_size
        self._writes = jax.process_index() == 0
        self._bar: Progress = progress_bar()
        self._task = self._bar.add_task(workdir.name, total=steps, completed=start, note="")
        path = workdir / "metrics.jsonl"
        kept = [record for record in read_records(path) if record["step"] <= start]
        # All processes need to know it, so that they measure the same things.
        self._at_start = {record["phase"] for record in kept if record["step"] == start}
        if self._writes:
            write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
            self._file = path.open("a", buffering=1)
            self._board = TensorBoardWriter(workdir / "tensorboard", start)

    def __enter__(self) -> "MetricWriter":
        self._began = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        if self._writes:
            self._file.close()
            self._board.close()

    def write(self, step: int, phase: str, values: Mapping[str, float]) -> None:
        """Record values of a phase, such as `train`, as they stood after `step` steps."""
        if self._writes:
            self._file.write(json.dumps({"step": step, "phase": phase, **values}) + "\n")
            self._board.write(step, {f"{phase}/{name}": value for name, value in values.items()})

    def has(self, step: int, phase: str) -> bool:
        """Whether the process that got the run to where this one starts wrote that record."""
        return step == self._start and phase in self._at_start

    def sync(self) -> None:
        """Bring what was written to the disk, as the bundle that follows on it will be."""
        if self._writes:
            os.fsync(self._file.fileno())
            self._board.flush()

    def advance(self, step: int, loss: float) -> None:
        """Move the progress bar to `step`."""
        rate = (step - self._start) * self._batch_size / (time.monotonic() - self._began)
        note = f"loss {loss:.4f}  {rate:,.0f} examples/s"
        self._bar.update(self._task, completed=step, note=note)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The whole records of a metrics file; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("}\n")]
