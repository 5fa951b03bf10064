"""What Orbax's threads, and TensorStore's below them, print when a save fails.

The failure is raised where the save is waited for, and told there in a line. Each array that was
being written would be told with a traceback as well, which buries that line.
"""

import functools
import logging
import sys
import warnings

__all__ = ["silence_save_errors"]


@functools.cache
def silence_save_errors() -> None:
    """Leave the telling of failed saves to who waits for them, for the rest of the process."""
    logging.getLogger("absl").addFilter(
        lambda record: "_SignalingThread.run() raised" not in str(record.msg)
    )
    # What was not begun, and what was done after Orbax had closed its loop.
    unbegun = r"coroutine '.*write_fragment' was never awaited"
    warnings.filterwarnings("ignore", unbegun, RuntimeWarning)
    told = sys.unraisablehook

    def unraisable(late: "sys.UnraisableHookArgs", /) -> None:
        of_tensorstore = late.object is None and isinstance(late.exc_value, RuntimeError)
        if not (of_tensorstore and str(late.exc_value) == "Event loop is closed"):
            told(late)

    sys.unraisablehook = unraisable
