"""Asked to stop by a scheduler or a person: finish the step, save, leave."""

import signal
from types import FrameType, TracebackType

__all__ = ["STOPPED", "StopRequest", "Stopped"]

# EX_TEMPFAIL of sysexits.h: try again later. Schedulers are told to requeue on it.
STOPPED = 75


class Stopped(Exception):
    """The run was asked to stop and has saved a bundle; the same command goes on from there."""


class StopRequest:
    """Turns SIGTERM and SIGUSR1 (SLURM's warning) into a flag; a context manager.

    Outside the main thread signals can't be caught and the flag stays down.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGUSR1):
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
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
