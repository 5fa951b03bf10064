"""Scalars in TensorBoard's format.

`EventsWriter` is a name of tensorboardX that it doesn't publish: used here and nowhere else. If a
release moves it, tests/test_private_names.py says so. What is needed of it is to write one record
of an event file in the calling thread; `tensorboardX.record_writer` does the same a level below.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

__all__ = ["TensorBoardWriter"]

_START = SessionLog(status=SessionLog.START)


class TensorBoardWriter:
    """The figures in TensorBoard's format.

    Written by the thread that calls, unlike with tensorboardX's own writer: there a full disk ends
    a thread that nobody looks after, and the training waits for it for ever.

    Args:
        folder: made if need be.
        start: the step the run (re)starts from; what was written of later ones is hidden.
    """

    def __init__(self, folder: Path, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"), f".{os.getpid()}.{start}")
        for told in ({"file_version": "brain.Event:2"}, {"session_log": _START}):
            self._events.write_event(Event(wall_time=time.time(), step=start + 1, **told))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Figures by name, as they stood after `step` steps."""
        for name, value in values.items():
            scalar = summary.scalar(name, value)
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar))

    def flush(self) -> None:
        """Let TensorBoard see it."""
        self._events.flush()

    def close(self) -> None:
        """Nothing more is written."""
        self._events.close()
