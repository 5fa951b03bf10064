"""Writing of a run's metrics to `metrics.jsonl`, TensorBoard and a progress bar."""

import json
import math
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from rich.progress import Progress

from data_pipelines.files.writing import replace_non_finite, write_text
from data_pipelines.preparing.progress import progress_bar
from ssl_jax.devices.processes import decide
from ssl_jax.training.tensorboard import TensorBoardWriter

__all__ = ["MetricWriter", "read_records"]


class MetricWriter:
    """Writes the metrics of a run, and appends to those of the processes before.

    A context manager. On opening, records of steps after `start` are dropped: they were written
    after the last checkpoint of an interrupted process, and those steps are about to be repeated.
    In a job of several processes only the first writes.

    Args:
        workdir: Workdir of the run.
        start: The step that training starts or resumes from.
        steps: The last step of the run.
        batch_size: Examples per step, for the throughput in the progress bar.
    """

    def __init__(self, workdir: Path, start: int, steps: int, batch_size: int) -> None:
        self._start = start
        self._batch_size = batch_size
        self._is_writer = jax.process_index() == 0
        self._bar: Progress = progress_bar()
        self._task = self._bar.add_task(workdir.name, total=steps, completed=start, note="")
        path = workdir / "metrics.jsonl"
        # All processes need the phases, so that all run the same evaluations.
        self._phases_at_start = decide(partial(_drop_records_after, path, start))
        if self._is_writer:
            self._file = path.open("a", buffering=1)
            self._tensorboard = TensorBoardWriter(workdir / "tensorboard", start)

    def __enter__(self) -> "MetricWriter":
        self._start_time = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        if self._is_writer:
            self._file.close()
            self._tensorboard.close()

    def write(self, step: int, phase: str, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a phase after `step` steps.

        Args:
            step: Number of completed steps.
            phase: The phase, such as `train` or `evaluation`.
            metrics: The metrics by name.
        """
        if self._is_writer:
            record = {"step": step, "phase": phase, **metrics}
            self._file.write(_format_record(record))
            scalars = {f"{phase}/{name}": value for name, value in metrics.items()}
            self._tensorboard.write(step, scalars)

    def has_record(self, step: int, phase: str) -> bool:
        """Return whether `step` is the start and an earlier process has written its `phase`."""
        return step == self._start and phase in self._phases_at_start

    def sync(self) -> None:
        """Flush the records to disk, so that they are as durable as the checkpoint saved next."""
        if self._is_writer:
            os.fsync(self._file.fileno())
            self._tensorboard.flush()

    def advance(self, step: int, loss: float) -> None:
        """Move the progress bar to `step`."""
        seconds = time.monotonic() - self._start_time
        throughput = (step - self._start) * self._batch_size / seconds
        note = f"loss {loss:.4f}  {throughput:,.0f} examples/s"
        self._bar.update(self._task, completed=step, note=note)


def _drop_records_after(path: Path, step: int) -> list[str]:
    """Drop the records of later steps from a metrics file; return the phases recorded at `step`."""
    kept = [record for record in read_records(path) if record["step"] <= step]
    write_text(path, "".join(map(_format_record, kept)))
    return [record["phase"] for record in kept if record["step"] == step]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a metrics file.

    A truncated last line, which a killed process leaves behind, is dropped.

    Args:
        path: The file `metrics.jsonl`.

    Returns:
        The records, each with `step`, `phase` and the metrics, NaN where the file has null; empty
        if the file does not exist.
    """
    if not path.exists():
        return []
    lines = [line for line in path.read_text().splitlines(True) if line.endswith("}\n")]
    return [
        {name: math.nan if value is None else value for name, value in json.loads(line).items()}
        for line in lines
    ]


def _format_record(record: Mapping[str, Any]) -> str:
    return json.dumps(replace_non_finite(record)) + "\n"
