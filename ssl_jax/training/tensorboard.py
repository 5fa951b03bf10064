"""A TensorBoard writer for scalars.

`EventsWriter` is not part of tensorboardX's public API and is used in this module only;
tests/test_private_names.py fails if a release moves it. It writes single records of an event file
in the calling thread; `tensorboardX.record_writer` does the same one level below.
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
    """Writes scalars to a TensorBoard event file in the calling thread.

    tensorboardX's own writer uses a background thread. A full disk ends that thread unnoticed, and
    the training then waits for it forever.

    Args:
        folder: Folder of the event files; created if it does not exist.
        start: The step that training starts or resumes from; TensorBoard hides earlier events of
            later steps.
    """

    def __init__(self, folder: Path, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"), f".{os.getpid()}.{start}")
        for header in ({"file_version": "brain.Event:2"}, {"session_log": _START}):
            self._events.write_event(Event(wall_time=time.time(), step=start + 1, **header))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write scalars by name, as of after `step` steps."""
        for name, value in scalars.items():
            scalar = summary.scalar(name, value)
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar))

    def flush(self) -> None:
        """Write buffered events to the file."""
        self._events.flush()

    def close(self) -> None:
        """Close the event file."""
        self._events.close()
