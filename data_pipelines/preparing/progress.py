"""How far something is, at what rate, and how long it will take still."""

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

__all__ = ["Counter", "format_duration", "progress_bar"]

# Seconds between two lines where there is no terminal to draw a bar on.
_LINE_EVERY = 30.0
# Seconds that the rate is averaged over.
_RATE_OVER = 1.0


def progress_bar() -> Progress:
    """A bar with rate and time left on standard error; silent when that is not a terminal."""
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


class Counter:
    """Counts what is done: a bar on a terminal, a line every half minute in a log file."""

    def __init__(self, description: str, total: int | None, unit: str = "examples") -> None:
        self._bar = progress_bar()
        self._silent = bool(self._bar.disable)
        self._task = self._bar.add_task(description, total=total, note="")
        self._description, self._total, self._unit = description, total, unit
        self._began = self._noted = self._lined = time.monotonic()
        self._count = self._noted_count = 0

    def __enter__(self) -> "Counter":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.update(self._task, completed=self._count)
        self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""
        self._count += count
        now = time.monotonic()
        if now - self._noted < _RATE_OVER:
            return
        rate = (self._count - self._noted_count) / (now - self._noted)
        self._noted, self._noted_count = now, self._count
        self._bar.update(self._task, completed=self._count, note=f"{rate:,.0f}/s")
        if self._silent and now - self._lined >= _LINE_EVERY:
            self._lined = now
            print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        rate = self._count / (now - self._began)
        of = left = ""
        if self._total:
            of = f" of {self._total:,}"
            left = f", {format_duration((self._total - self._count) / rate)} left" if rate else ""
        return f"{self._description}: {self._count:,}{of} {self._unit}, {rate:,.0f}/s{left}"


def format_duration(seconds: float) -> str:
    """A time for a person: `3 h 07 min`, `12 min 05 s`."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
