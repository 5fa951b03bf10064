"""Graceful shutdown: on a signal, finish the step, save a checkpoint and exit.

In a job of several processes, a process that waits for another in a collective can do neither, and
Python's signal handlers do not even run there. A thread ends the process then.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from data_pipelines.errors import STOPPED
from ssl_jax.devices.cluster import exit_job
from ssl_jax.devices.processes import gather_json, key_value_store

__all__ = ["ShutdownSignal", "Stopped"]

_KEY = "ssl_jax/stop"
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_STUCK_SECONDS = 25.0  # SLURM and Kubernetes kill 30 seconds after SIGTERM


class Stopped(Exception):
    """A signal requested a shutdown; the same command resumes from what has been saved."""


class ShutdownSignal:
    """Turns SIGTERM, SIGUSR1 (SLURM's warning) and Ctrl-C into a flag.

    A context manager: signals are caught while it is entered. A second Ctrl-C interrupts
    immediately. Outside of the main thread signals cannot be caught and the flag is never set.

    Attributes:
        requested: Whether a shutdown was requested, as of the last `poll`. In a job of several
            processes it changes in all of them at the same poll, whichever process got the signal.
        find_checkpoint: Finds the newest checkpoint, for the message of a process that can't save.
    """

    def __init__(self) -> None:
        self.requested = False
        self.find_checkpoint: Callable[[], Path | None] = lambda: None
        self._received = False
        self._announced = False
        self._raise_immediately = False
        self._polls = 0
        self._looks = 0
        self._previous_handlers: dict[int, Any] = {}
        self._ended = False

    def __enter__(self) -> "ShutdownSignal":
        for number in _SIGNALS:
            try:
                self._previous_handlers[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                return self
        if jax.process_count() > 1:
            self._end_process_when_stuck()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        if jax.process_count() > 1 and self._previous_handlers:
            self._ended = True
            os.close(signal.set_wakeup_fd(-1))

    def poll(self) -> bool:
        """Update and return `requested`.

        All processes of a job must call it equally often and at the same points of the program.
        """
        self.requested = self._poll_job() if jax.process_count() > 1 else self._received
        return self.requested

    def is_announced(self) -> bool:
        """Return whether a signal has reached any process of the job.

        Unlike `poll`, any process may call it at any time, in any thread; and one may learn of a
        signal earlier than another. Afterwards they must `agree`.
        """
        if jax.process_count() == 1:
            return self._received
        self._looks += 1
        self._announce()
        return self._find_announced_poll() is not None

    def agree(self, is_stopped: bool) -> bool:
        """Update and return `requested`: whether any process of the job has stopped its work.

        All processes of a job must call it equally often and at the same points of the program.

        Args:
            is_stopped: Whether this process has, since `is_announced` was true.
        """
        self.requested = any(gather_json(is_stopped))
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
        self._polls += 1
        self._announce()
        announced = self._find_announced_poll()
        return announced is not None and self._polls >= announced

    def _announce(self) -> None:
        """Tell the other processes of a signal, and at which poll all of them are to stop."""
        if self._received and not self._announced:
            self._announced = True
            key_value_store().key_value_set(_KEY, str(self._polls + 2), allow_overwrite=True)

    def _find_announced_poll(self) -> int | None:
        try:
            return int(key_value_store().key_value_try_get(_KEY))
        except jax.errors.JaxRuntimeError:  # no process has announced a request
            return None

    def _end_process_when_stuck(self) -> None:
        """Start a thread that ends the process if it makes no progress after a signal."""
        receiver, sender = os.pipe()
        os.set_blocking(sender, False)
        signal.set_wakeup_fd(sender, warn_on_full_buffer=False)  # written to even in a collective

        def watch() -> None:
            while (number := os.read(receiver, 1)) and number[0] not in _SIGNALS:
                pass
            if number and not self._stops_in_time():
                newest = self.find_checkpoint()
                print(
                    "error: a signal asked to stop, but this process waits for another one of the "
                    f"job and can't save; the newest checkpoint is {newest or 'none yet'}; run the "
                    "same command again to resume",
                    file=sys.stderr,
                    flush=True,
                )
                exit_job(STOPPED, "was stopped by a signal and could not save")
            os.close(receiver)

        threading.Thread(target=watch, daemon=True).start()

    def _stops_in_time(self) -> bool:
        """Wait for the stop; return False if nobody asks for it for a while."""
        calls, since = self._polls + self._looks, time.monotonic()
        while not (self.requested or self._ended):
            if self._polls + self._looks != calls:
                calls, since = self._polls + self._looks, time.monotonic()
            elif time.monotonic() - since > _STUCK_SECONDS:
                return False
            time.sleep(0.1)
        return True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        if self._raise_immediately:
            self._raise_immediately = False  # a second signal must not interrupt the cleanup
            raise Stopped
