"""Progress reports: the fraction done, the rate and the estimated time left."""

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["ProgressCounter", "format_duration", "progress_bar"]

# Seconds between two log lines, if standard error is not a terminal.
_LOG_INTERVAL = 30.0
# Seconds between two updates of the bar, over which the rate is averaged.
_RATE_INTERVAL = 1.0


def progress_bar() -> Progress:
    """Create a progress bar on standard error, which is disabled if that is not a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class ProgressCounter:
    """A counter that reports progress: a bar on a terminal, otherwise a log line every 30 s.

    Args:
        description: Name of the task.
        total: Number of units of the task; None if it is unknown.
        unit: Name of the units, in the plural.
    """

    def __init__(self, description: str, total: int | None, unit: str = "examples") -> None:
        self._bar = progress_bar()
        self._is_terminal = not self._bar.disable
        self._task = self._bar.add_task(description, total=total, note="")
        self._description, self._total, self._unit = description, total, unit
        self._start_time = self._update_time = self._log_time = time.monotonic()
        self._count = self._updated_count = 0

    def __enter__(self) -> "ProgressCounter":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.update(self._task, completed=self._count)
        self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """Add `count` units, and report progress if it is time to."""
        self._count += count
        now = time.monotonic()
        if now - self._update_time < _RATE_INTERVAL:
            return
        rate = (self._count - self._updated_count) / (now - self._update_time)
        self._update_time, self._updated_count = now, self._count
        self._bar.update(self._task, completed=self._count, note=f"{rate:,.0f}/s")
        if not self._is_terminal and now - self._log_time >= _LOG_INTERVAL:
            self._log_time = now
            print(self._format_log_line(now), file=sys.stderr, flush=True)

    def _format_log_line(self, now: float) -> str:
        rate = self._count / (now - self._start_time)
        total = left = ""
        if self._total:
            total = f" of {self._total:,}"
            left = f", {format_duration((self._total - self._count) / rate)} left" if rate else ""
        return f"{self._description}: {self._count:,}{total} {self._unit}, {rate:,.0f}/s{left}"


def format_duration(seconds: float) -> str:
    """Format a duration, such as `3 h 07 min` or `12 min 05 s`."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
