"""The one exception that means: the person at the terminal can put this right."""

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake of the user's, told in one line.

    The message names the thing, what was found, what was expected and what to do. The doors print
    it without a traceback and exit with code 2.
    """
