"""Asked to stop by a scheduler or a person: finish the step, save, leave."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax

from ssl_jax.devices.processes import key_value_store

__all__ = ["ShutdownSignal", "Stopped"]

_KEY = "ssl_jax/stop"


class Stopped(Exception):
    """Asked to stop, and nothing is lost: the same command goes on from what has been saved."""


class ShutdownSignal:
    """Turns SIGTERM, SIGUSR1 (SLURM's warning) and Ctrl-C into a flag while it is entered.

    A second Ctrl-C stops at once. Outside the main thread signals can't be caught and the flag
    stays down.

    Attributes:
        requested: whether to stop, as of the last `poll`. In a job of several processes it changes
            on all of them at the same poll, whichever of them got the signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self._signalled = False
        self._announced = False
        self._at_once = False
        self._polls = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "ShutdownSignal":
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._signal)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def poll(self) -> bool:
        """Look whether to stop; to be called at the same places by all processes of a job."""
        self.requested = self._agreed() if jax.process_count() > 1 else self._signalled
        return self.requested

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it a signal is an exception: for work that cleans up after itself.

        Raises:
            Stopped: a signal came, now or before.
        """
        self._at_once = True
        try:
            if self._signalled:
                raise Stopped
            yield
        finally:
            self._at_once = False

    def _agreed(self) -> bool:
        """Whether the poll has come that a process with a signal announced to all.

        Between two polls lies a collective whose outcome is waited for, so that no process is more
        than one poll ahead: what is announced for the poll after the next is known to all by then.
        """
        job = key_value_store()
        self._polls += 1
        if self._signalled and not self._announced:
            self._announced = True
            job.key_value_set(_KEY, str(self._polls + 2), allow_overwrite=True)
        try:
            return self._polls >= int(job.key_value_try_get(_KEY))
        except jax.errors.JaxRuntimeError:  # nobody has announced anything
            return False

    def _signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        if self._at_once:
            self._at_once = False  # once is enough: nothing interrupts the cleaning up
            raise Stopped
