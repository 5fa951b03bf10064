"""A lock that one process holds at a time and that the system takes from a dead one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from data_pipelines.errors import UserError

__all__ = ["acquire_lock"]


@contextlib.contextmanager
def acquire_lock(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of the file `path`, which is there only while somebody holds it.

    Raises:
        UserError: another process holds it; `refusal` says so.
        OSError: the file can't be made, or the file system has no locks.
    """
    # Never filelock's soft locks: two processes can hold one, and a dead one keeps it.
    lock = filelock.FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(refusal) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: filelock takes no unlinked file for a lock
        lock.release()
