"""A folder sealed when it is finished: what its files were, so that damage is noticed.

`manifest.json` in the folder holds the size and the CRC-32 of every file, and of one that is being
replaced also what it is to become. It tells accidents, such as a disk that loses bits or a copy
that broke off, and doesn't guard against forgery.
"""

import functools
import json
import os
import zlib
from pathlib import Path

from data_pipelines.files.writing import write_json, write_text

__all__ = ["MANIFEST", "find_corruption", "is_complete", "replace_file", "write_manifest"]

MANIFEST = "manifest.json"
_BLOCK = 2**24  # bytes


def write_manifest(folder: Path) -> None:
    """Write down what the files of a finished folder are, once they have come to the disk."""
    files = {str(path.relative_to(folder)): path for path in _files(folder)}
    for path in files.values():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    found = {name: [path.stat().st_size, _checksum(path)] for name, path in files.items()}
    write_json(folder / MANIFEST, {"crc32": found})


def replace_file(folder: Path, name: str, text: str) -> None:
    """Put other text in a file of a sealed folder, which is sound at every moment of it."""
    content = text.encode()
    sealed = json.loads((folder / MANIFEST).read_text())
    to_become = {name: [len(content), zlib.crc32(content)]}
    write_json(folder / MANIFEST, {**sealed, "to_become": to_become})
    write_text(folder / name, text)
    write_json(folder / MANIFEST, {"crc32": {**sealed["crc32"], **to_become}})


def is_complete(folder: Path) -> bool:
    """Whether the folder was finished."""
    return (folder / MANIFEST).is_file()


def find_corruption(folder: Path) -> str:
    """What is wrong with a sealed folder, in words; empty if it is as it was.

    Files are read once in a process, and again when their size or time of change is another.
    """
    return _damage(folder, tuple(map(_state, [*_files(folder), folder / MANIFEST])))


@functools.lru_cache(maxsize=64)
def _damage(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        to_become = manifest.get("to_become", {})
        for name, expected in manifest["crc32"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            found = [path.stat().st_size, _checksum(path)]
            if found not in (expected, to_become.get(name)):
                return f"{name} {_difference(found, expected)}"
    except OSError as error:
        return f"{error.filename} can't be read: {error.strerror}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{MANIFEST} is not what was written"
    return ""


def _difference(found: list[int], expected: list[int]) -> str:
    if found[0] != expected[0]:
        return f"has {found[0]} bytes of {expected[0]}"
    return "is not what was written"


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
