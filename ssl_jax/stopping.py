"""Asked to stop by a scheduler or a person: finish the step, save, leave."""

import signal
from types import FrameType, TracebackType
from typing import Any

__all__ = ["STOPPED", "StopRequest", "Stopped"]

# EX_TEMPFAIL of sysexits.h: try again later. Schedulers are told to requeue on it.
STOPPED = 75


class Stopped(Exception):
    """The run was asked to stop and has saved a bundle; the same command goes on from there."""


class StopRequest:
    """Turns SIGTERM, SIGUSR1 (SLURM's warning) and Ctrl-C into a flag; a context manager.

    A second Ctrl-C stops at once. Outside the main thread signals can't be caught and the flag
    stays down.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._request)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
