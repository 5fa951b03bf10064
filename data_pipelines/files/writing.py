"""Atomic writing of files: a file is complete, or it does not exist."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["replace_non_finite", "replace_when_written", "write_arrays", "write_json", "write_text"]


@contextlib.contextmanager
def replace_when_written(path: Path) -> Iterator[Path]:
    """Replace a file atomically by one that is written inside the `with` block.

    After the block the new file is flushed to disk and renamed to `path`. If an exception is
    raised, it is deleted and `path` stays as it was.

    Args:
        path: The file to replace; it need not exist.

    Yields:
        Path of a temporary file in the same folder, to write to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replace_when_written(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def replace_non_finite(content: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by None (null).

    Args:
        content: Nested dicts, lists and tuples of values.
    """
    if isinstance(content, Mapping):
        return {key: replace_non_finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [replace_non_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays to a compressed NumPy archive (`.npz`), atomically."""
    with replace_when_written(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
