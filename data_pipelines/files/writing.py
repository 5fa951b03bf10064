"""Files that are whole or not there."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["replace_when_written", "write_arrays", "write_json", "write_text"]


@contextlib.contextmanager
def replace_when_written(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when all went well.

    It has come to the disk by then. If anything goes wrong, it is removed and `path` stays as it
    was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text beside `path`, then rename: the file is whole or not there."""
    with replace_when_written(path) as beside:
        beside.write_text(text)


def write_json(path: Path, content: Any) -> None:
    """Write JSON beside `path`, then rename."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays, compressed, beside `path`, then rename."""
    with replace_when_written(path) as beside, beside.open("wb") as file:
        np.savez_compressed(file, **arrays)
