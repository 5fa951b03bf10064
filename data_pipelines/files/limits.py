"""The operating system's limit on open files (`ulimit -n`), which some set to 256."""

import contextlib
import resource

__all__ = ["allow_open_files"]

# Share of the files that one reader may keep open: a process may have several, and other files.
_SHARE = 4


def allow_open_files(count: int) -> int:
    """Raise the limit of this process so far that a reader can keep `count` files open.

    Args:
        count: Number of files.

    Returns:
        The number of files that it may keep open, which is less if the limit can't be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _SHARE * count
    if resource.RLIM_INFINITY != soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):  # a system may have a limit below `hard`
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(raised, soft), hard))
            soft = max(raised, soft)
    return count if soft == resource.RLIM_INFINITY else max(1, min(count, soft // _SHARE))
