"""A folder sealed when it is finished: what its files were, so that damage is noticed.

`manifest.json` in the folder holds the size and the CRC-32 of every file. It tells accidents, such
as a disk that loses bits or a copy that broke off, and doesn't guard against forgery.
"""

import functools
import json
import os
import zlib
from pathlib import Path

from ssl_jax.logs import write_json

__all__ = ["MANIFEST", "damage", "is_sealed", "seal"]

MANIFEST = "manifest.json"
_BLOCK = 2**24  # bytes


def seal(folder: Path) -> None:
    """Write down what the files of a finished folder are, once they have come to the disk."""
    files = {str(path.relative_to(folder)): path for path in _files(folder)}
    for path in files.values():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    found = {name: [path.stat().st_size, _checksum(path)] for name, path in files.items()}
    write_json(folder / MANIFEST, {"crc32": found})


def is_sealed(folder: Path) -> bool:
    """Whether the folder was finished."""
    return (folder / MANIFEST).is_file()


def damage(folder: Path) -> str:
    """What is wrong with a sealed folder, in words; empty if it is as it was.

    Files are read once in a process, and again when their size or time of change is another.
    """
    return _damage(folder, tuple(_state(path) for path in _files(folder)))


@functools.lru_cache(maxsize=64)
def _damage(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    try:
        sealed = json.loads((folder / MANIFEST).read_text())["crc32"]
        for name, (size, checksum) in sealed.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes of {size}"
            if _checksum(path) != checksum:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{error.filename} can't be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is not what was written"
    return ""


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST
    )


def _state(path: Path) -> tuple[str, int, int]:
    found = os.stat(path)
    return str(path), found.st_size, found.st_mtime_ns


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value
