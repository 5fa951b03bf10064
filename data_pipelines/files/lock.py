"""A lock between processes, which the operating system releases when its holder dies."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from data_pipelines.errors import UserError

__all__ = ["acquire_lock"]


@contextlib.contextmanager
def acquire_lock(path: Path, refusal: str) -> Iterator[None]:
    """Hold an exclusive lock inside the `with` block.

    Args:
        path: Lock file, which exists only while the lock is held.
        refusal: Error message if another process holds the lock.

    Raises:
        UserError: If another process holds the lock.
        OSError: If the file can't be created, or the file system does not support locks.
    """
    # No soft locks of filelock: two processes can hold the same one, and a dead process keeps it.
    lock = filelock.FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(refusal) from error
    try:
        yield
    finally:
        # Deleted before the release: filelock rejects a lock on a file that was deleted meanwhile.
        path.unlink(missing_ok=True)
        lock.release()
