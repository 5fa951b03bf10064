"""What is printed while the runs of a study are carried out."""

import time
from typing import Any

import jax
from rich.console import Console

from data_pipelines.preparing.progress import format_duration
from ssl_jax.studies.plan import Run

__all__ = ["Progress"]


class Progress:
    """One line a run when it ends, and at a terminal one when it begins, with the time left."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._ended = 0
        self._began = time.monotonic()
        self._errors = Console(stderr=True)

    def begin(self, run: Run) -> None:
        """`run` is about to start."""
        self._run_began = time.monotonic()
        if self._errors.is_terminal:
            line = f"{self._count(self._ended + 1)} {run.name}{self._left()}"
            self._errors.print(line, style="dim", markup=False, highlight=False)

    def done(self, run: Run, results: dict[str, Any]) -> None:
        """`run` came out with `results`."""
        self._end(f"{run.name}: {_outcome(results)}")

    def failed(self, run: Run, line: str) -> None:
        """`run` failed, in a line."""
        self._end(f"{run.name}: FAILED: {line}")

    def skipped(self) -> None:
        """A run can't be done now."""
        self._runs -= 1

    def _end(self, text: str) -> None:
        self._ended += 1
        if jax.process_index() == 0:
            seconds = time.monotonic() - self._run_began
            print(f"{self._count(self._ended)} {text} ({seconds:.1f} s)", flush=True)

    def _count(self, number: int) -> str:
        return f"[{number:{len(str(self._runs))}}/{self._runs}]"

    def _left(self) -> str:
        if not self._ended:
            return ""
        each = (time.monotonic() - self._began) / self._ended
        left = format_duration(each * (self._runs - self._ended))
        return f" · {60 / each:.1f} runs/min, about {left} left"


def _outcome(results: dict[str, Any]) -> str:
    """The figure that a run is about."""
    metrics = results["metrics"]
    shares = [name for name in ("top1", "mAP", "mIoU", "OA") if name in metrics]
    shown = [f"{name} {100 * metrics[name]:.1f} %" for name in shares]
    losses = results["train"]
    return ", ".join(shown) or f"loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}"
