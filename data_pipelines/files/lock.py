"""A lock that one process holds at a time and that the system takes from a dead one."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.errors import UserError

__all__ = ["locked"]


@contextlib.contextmanager
def locked(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of the file `path`, which is there only while somebody holds it.

    Raises:
        UserError: another process holds it; `refusal` says so.
        OSError: the file can't be made.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UserError(refusal) from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        os.close(handle)  # of a file that another process has just let go of
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)
