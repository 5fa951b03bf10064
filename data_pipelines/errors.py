"""The one exception that means: the person at the terminal can put this right; and exit codes.

And the errors of the system that are of that kind: a disk that is full, or can't be written.
"""

import errno
import os

__all__ = [
    "FULL",
    "INTERRUPTED",
    "STOPPED",
    "UNWRITABLE",
    "USER_ERROR",
    "UserError",
    "os_error_reason",
]

# Exit codes of all commands.
USER_ERROR = 2
STOPPED = 75  # EX_TEMPFAIL of sysexits.h, try again later: schedulers are told to requeue on it
INTERRUPTED = 130  # by Ctrl-C, as shells have it

# A disk, or one's share of it.
FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (*FULL, errno.EROFS)


class UserError(Exception):
    """A mistake of the user's, told in one line.

    The message names the thing, what was found, what was expected and what to do. The doors print
    it without a traceback and exit with code 2.
    """


def os_error_reason(error: BaseException, numbers: tuple[int, ...]) -> str:
    """The system's words, if an error is one of these; empty for any other.

    Libraries that write in threads of their own, such as Orbax and ArrayRecord, pass on no more
    than the words.
    """
    for number in numbers:
        if getattr(error, "errno", 0) == number or os.strerror(number) in str(error):
            return os.strerror(number)
    return ""
