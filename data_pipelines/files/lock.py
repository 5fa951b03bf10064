"""A lock between processes on one or several machines, which is released when its holder dies.

It consists of two: a lock of the operating system (`flock`), which it releases itself, and a lease,
a file that is created exclusively, names its owner and is touched regularly. The first one
recognises a dead owner at once, but some file systems have none (Lustre, FUSE), and on others it is
seen by the same machine only. The lease is seen by all machines. The owner of a lease that was not
touched for a while is taken for dead.
"""

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import psutil

from data_pipelines.errors import UserError, end_process, warn_once

__all__ = ["Locked", "Owner", "acquire_lock", "find_owner"]

# In seconds. The caches of NFS, which hide changes of other machines, last up to 60.
_LEASE_DURATION = 90.0
_HEARTBEAT_INTERVAL = 5.0
_WITHOUT_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class Locked(UserError):
    """Another process holds the lock."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Attributes:
        host: Name of its machine.
        process: Its process id there.
    """

    host: str
    process: int

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def find_owner(path: Path) -> Owner | None:
    """Find which other process holds a lock, by this machine's clock; None if there is none.

    The lock of this process is none of another, and may be left from before it replaced itself by a
    restart, which keeps the process id.

    Args:
        path: The lock file.
    """
    lease = _make_lease(path)
    try:
        age = time.time() - Path(lease.lock_file).stat().st_mtime
    except OSError:  # mostly since there is no such file
        return None
    if age >= _LEASE_DURATION or lease.is_lock_held_by_us:
        return None
    owner = _read_owner(lease)
    if owner and owner.host == socket.gethostname() and not psutil.pid_exists(owner.process):
        return None
    return owner


@contextlib.contextmanager
def acquire_lock(path: Path, thing: str, activity: str) -> Iterator[None]:
    """Hold an exclusive lock inside the `with` block.

    If this process does not run for so long that another machine takes the lock over, or if its
    folder is deleted, the process ends at once.

    Args:
        path: Lock file, which exists only while the lock is held.
        thing: What is locked, such as `workdir runs/a`, for the error messages.
        activity: What the owner does, such as `training in it`.

    Raises:
        Locked: If another process holds the lock.
        OSError: If the file can't be created.
    """

    def end_on_loss(loss: filelock.LeaseCompromise) -> None:
        end_process(
            f"{thing}: another process took it over, or it was deleted ({loss.reason}); run the "
            "same command again to continue"
        )

    lease = _make_lease(path, end_on_loss)
    with contextlib.ExitStack() as held:
        try:
            _acquire_system_lock(path, held)
            _acquire_lease(lease, thing)
        except filelock.Timeout as error:
            owner = _read_owner(lease)
            raise Locked(
                f"{thing}: another process is {activity}{f' ({owner})' if owner else ''}; wait for "
                "it or stop it"
            ) from error
        held.callback(lease.release)
        yield


def _make_lease(
    path: Path, on_loss: Callable[[filelock.LeaseCompromise], None] | None = None
) -> filelock.SoftFileLease:
    return filelock.SoftFileLease(
        path.with_name(f"{path.name}.owner"),
        lease_duration=_LEASE_DURATION,
        heartbeat_interval=_HEARTBEAT_INTERVAL,
        on_compromise=on_loss,
    )


def _read_owner(lease: filelock.SoftFileLease) -> Owner | None:
    record = lease.owner
    # Without the mark that tells containers of the same name apart.
    return Owner(record.hostname.partition("?")[0], record.pid) if record else None


def _acquire_system_lock(path: Path, held: contextlib.ExitStack) -> None:
    """Acquire the lock of the operating system, or warn once if the file system has none.

    Raises:
        filelock.Timeout: If another process holds it.
    """
    lock = filelock.FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if isinstance(error, filelock.Timeout) or error.errno not in _WITHOUT_LOCKS:
            raise
        path.unlink(missing_ok=True)
        warn_once(
            f"the file system has no locks ({error.strerror}); other processes that use the same "
            "folder are recognised by the owner records that they leave in it"
        )
        return
    held.callback(lock.release)
    # Deleted before the release: filelock rejects a lock on a file that was deleted meanwhile.
    held.callback(path.unlink, missing_ok=True)


def _acquire_lease(lease: filelock.SoftFileLease, thing: str) -> None:
    """Acquire the lease; if its owner is on another machine, wait to see whether it is alive.

    Raises:
        filelock.Timeout: If another process holds it.
    """
    if lease.is_lock_held_by_us:  # left by this process before it replaced itself by a restart
        lease.break_lock()
    with contextlib.suppress(filelock.Timeout):
        lease.acquire(blocking=False)
        return
    touched = _read_heartbeat(lease)
    print(
        f"{thing}: waiting up to {_LEASE_DURATION:.0f} s to see whether {_read_owner(lease)} is "
        "still alive",
        file=sys.stderr,
    )
    lease.acquire(
        timeout=_LEASE_DURATION + _HEARTBEAT_INTERVAL,
        poll_interval=1.0,
        cancel_check=lambda: _read_heartbeat(lease) != touched,
    )


def _read_heartbeat(lease: filelock.SoftFileLease) -> int:
    """Return when the lease was touched last; NFS looks it up again when the file is opened."""
    try:
        with open(lease.lock_file, "rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0
