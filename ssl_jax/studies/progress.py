"""Progress messages of the execution of a study."""

import time
from typing import Any

import jax
from rich.console import Console

from data_pipelines.preparing.progress import format_duration
from ssl_jax.studies.plan import Run

__all__ = ["Progress"]


class Progress:
    """Prints a line when a run ends and, at a terminal, when it starts, with the time left.

    Args:
        tell_elsewhere: Whether to say which runs other processes are training.
    """

    def __init__(self, tell_elsewhere: bool = True) -> None:
        self._console = Console(stderr=True)
        self._tell_elsewhere = tell_elsewhere
        self._elsewhere: set[str] = set()
        self.begin(0)

    def begin(self, num_runs: int) -> None:
        """Begin to count and time the given number of runs."""
        self._num_runs = num_runs
        self._num_ended = 0
        self._start_time = time.monotonic()

    def start(self, run: Run) -> None:
        """Report that a run starts."""
        self._run_start_time = time.monotonic()
        if self._console.is_terminal:
            line = f"{self._format_count(self._num_ended + 1)} {run.name}{self._format_time_left()}"
            self._console.print(line, style="dim", markup=False, highlight=False)

    def report_success(self, run: Run, results: dict[str, Any]) -> None:
        """Report that a run ended with the given content of `results.json`."""
        self._end_run(f"{run.name}: {_format_results(results)}")

    def report_failure(self, run: Run, message: str) -> None:
        """Report that a run failed with the given error message."""
        self._end_run(f"{run.name}: FAILED: {message}")

    def report_earlier_failure(self, name: str, message: str) -> None:
        """Report that a run failed with the given message before this process was restarted."""
        if jax.process_index() == 0:
            print(f"{name}: FAILED: {message}", flush=True)

    def report_running_elsewhere(self, run: Run, message: str) -> None:
        """Report, once for each run, that another process is training it, with the message."""
        self.skip()
        if not self._tell_elsewhere:
            return
        if jax.process_index() == 0 and run.name not in self._elsewhere:
            self._elsewhere.add(run.name)
            print(f"{run.name}: running elsewhere: {message}", flush=True)

    def skip(self) -> None:
        """Exclude a run that can't or needn't be trained now from the number of runs."""
        self._num_runs -= 1

    def _end_run(self, text: str) -> None:
        self._num_ended += 1
        if jax.process_index() == 0:
            seconds = time.monotonic() - self._run_start_time
            print(f"{self._format_count(self._num_ended)} {text} ({seconds:.1f} s)", flush=True)

    def _format_count(self, number: int) -> str:
        return f"[{number:{len(str(self._num_runs))}}/{self._num_runs}]"

    def _format_time_left(self) -> str:
        if not self._num_ended:
            return ""
        seconds_per_run = (time.monotonic() - self._start_time) / self._num_ended
        left = format_duration(seconds_per_run * (self._num_runs - self._num_ended))
        return f" · {60 / seconds_per_run:.1f} runs/min, about {left} left"


def _format_results(results: dict[str, Any]) -> str:
    """Format the scores of a run, or its losses if it has no scores."""
    metrics = results["metrics"]
    names = [name for name in ("top1", "mAP", "mIoU", "OA") if name in metrics]
    if names:
        return ", ".join(f"{name} {100 * metrics[name]:.1f} %" for name in names)
    losses = results["train"]
    return f"loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}"
