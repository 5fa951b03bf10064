"""Filters for what the threads of Orbax and TensorStore print after a failed save.

The failure is raised where the save is waited for, and reported there in one line. Without the
filters, a traceback for each array that was being written would bury that line.
"""

import functools
import logging
import sys
import warnings

__all__ = ["silence_save_errors"]


@functools.cache
def silence_save_errors() -> None:
    """Suppress what background threads print about failed saves, for the rest of the process."""
    logging.getLogger("absl").addFilter(
        lambda record: "_SignalingThread.run() raised" not in str(record.msg)
    )
    # Writes that had not started, and writes that finished after Orbax had closed its event loop.
    not_started = r"coroutine '.*write_fragment' was never awaited"
    warnings.filterwarnings("ignore", not_started, RuntimeWarning)
    default_hook = sys.unraisablehook

    def unraisable_hook(unraisable: "sys.UnraisableHookArgs", /) -> None:
        from_tensorstore = unraisable.object is None and isinstance(
            unraisable.exc_value, RuntimeError
        )
        if not (from_tensorstore and str(unraisable.exc_value) == "Event loop is closed"):
            default_hook(unraisable)

    sys.unraisablehook = unraisable_hook
