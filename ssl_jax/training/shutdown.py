"""Graceful shutdown: on a signal, finish the step, save a checkpoint and exit."""

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
    """A signal requested a shutdown; the same command resumes from what has been saved."""


class ShutdownSignal:
    """Turns SIGTERM, SIGUSR1 (SLURM's warning) and Ctrl-C into a flag.

    A context manager: signals are caught while it is entered. A second Ctrl-C interrupts
    immediately. Outside of the main thread signals cannot be caught and the flag is never set.

    Attributes:
        requested: Whether a shutdown was requested, as of the last `poll`. In a job of several
            processes it changes in all of them at the same poll, whichever process got the signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self._received = False
        self._announced = False
        self._raise_immediately = False
        self._polls = 0
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "ShutdownSignal":
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            try:
                self._previous_handlers[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def poll(self) -> bool:
        """Update and return `requested`.

        All processes of a job must call it equally often and at the same points of the program.
        """
        self.requested = self._poll_job() if jax.process_count() > 1 else self._received
        return self.requested

    @contextlib.contextmanager
    def raise_on_signal(self) -> Iterator[None]:
        """Raise `Stopped` from the signal handler, for code that cleans up after itself.

        Raises:
            Stopped: If a signal arrives in the context, or arrived before it.
        """
        self._raise_immediately = True
        try:
            if self._received:
                raise Stopped
            yield
        finally:
            self._raise_immediately = False

    def _poll_job(self) -> bool:
        """Return whether the poll has come at which all processes of the job are to stop.

        Every process waits for the result of a collective between two polls, so that none is more
        than one poll ahead of another: all processes know of a request by the second poll after
        its announcement.
        """
        store = key_value_store()
        self._polls += 1
        if self._received and not self._announced:
            self._announced = True
            store.key_value_set(_KEY, str(self._polls + 2), allow_overwrite=True)
        try:
            return self._polls >= int(store.key_value_try_get(_KEY))
        except jax.errors.JaxRuntimeError:  # no process has announced a request
            return False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        if self._raise_immediately:
            self._raise_immediately = False  # a second signal must not interrupt the cleanup
            raise Stopped
