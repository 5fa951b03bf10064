"""Errors that the user can correct, exit codes, disk errors, and warnings."""

import errno
import functools
import os
import sys
from typing import NoReturn

__all__ = [
    "FULL",
    "INTERRUPTED",
    "STOPPED",
    "UNWRITABLE",
    "USER_ERROR",
    "UserError",
    "end_process",
    "note_once",
    "os_error_reason",
    "warn_once",
]

# Exit codes of all commands.
USER_ERROR = 2
STOPPED = 75  # EX_TEMPFAIL of sysexits.h, try again later: schedulers are configured to requeue it
INTERRUPTED = 130  # by Ctrl-C, as in shells

# Error numbers of a full disk or an exhausted disk quota, and of a disk that can't be written.
FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (*FULL, errno.EROFS)


class UserError(Exception):
    """An error that the user can correct, with a one-line message.

    The message names the thing, what was found, what was expected and what to do. The commands
    print it without a traceback and exit with code 2.
    """


def os_error_reason(error: BaseException, numbers: tuple[int, ...]) -> str:
    """Return the operating system's message for an error if its number is one of `numbers`.

    Libraries that write in threads of their own, such as Orbax and ArrayRecord, pass on the message
    without the number, so that the message is searched too.

    Args:
        error: The error.
        numbers: Error numbers, such as `FULL`.

    Returns:
        The message, or an empty string for any other error.
    """
    for number in numbers:
        if getattr(error, "errno", 0) == number or os.strerror(number) in str(error):
            return os.strerror(number)
    return ""


def end_process(message: str) -> NoReturn:
    """End the process at once, from any thread, with an error message and exit code 75.

    For a process that can't continue while its main thread may wait for something forever.

    Args:
        message: The message, one line.
    """
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(STOPPED)


@functools.cache
def warn_once(text: str) -> None:
    """Print a warning on stderr, the same text once per process."""
    print(f"warning: {text}", file=sys.stderr)


@functools.cache
def note_once(text: str) -> None:
    """Print a note on stderr, the same text once per process."""
    print(f"note: {text}", file=sys.stderr)
