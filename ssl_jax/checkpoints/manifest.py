"""The manifest of a complete folder: the sizes and checksums of its files, to detect corruption.

`manifest.json` in the folder has the size and the CRC-32 of every file and, while a file is being
replaced, also those of its replacement. It detects accidents, such as flipped bits on a disk or an
interrupted copy, and does not protect against forgery.
"""

import functools
import json
import os
import zlib
from pathlib import Path

from data_pipelines.files.writing import write_json, write_text

__all__ = ["MANIFEST", "find_corruption", "is_complete", "replace_file", "write_manifest"]

MANIFEST = "manifest.json"
_CHUNK_BYTES = 2**24


def write_manifest(folder: Path) -> None:
    """Sync the files of a finished folder to disk and write its manifest, which completes it."""
    files = {str(path.relative_to(folder)): path for path in _list_files(folder)}
    for path in files.values():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    entries = {name: [path.stat().st_size, _compute_checksum(path)] for name, path in files.items()}
    write_json(folder / MANIFEST, {"crc32": entries})


def replace_file(folder: Path, name: str, text: str) -> None:
    """Replace a file of a complete folder by a text; the folder is valid at every moment.

    Args:
        folder: The folder, with a manifest.
        name: Path of the file in the folder, as in the manifest.
        text: The new content.
    """
    content = text.encode()
    manifest = json.loads((folder / MANIFEST).read_text())
    to_become = {name: [len(content), zlib.crc32(content)]}
    write_json(folder / MANIFEST, {**manifest, "to_become": to_become})
    write_text(folder / name, text)
    write_json(folder / MANIFEST, {"crc32": {**manifest["crc32"], **to_become}})


def is_complete(folder: Path) -> bool:
    """Return whether the folder has a manifest."""
    return (folder / MANIFEST).is_file()


def find_corruption(folder: Path) -> str:
    """Check the files of a complete folder against its manifest.

    The files are read once per process, and again if a size or modification time has changed.

    Returns:
        The first problem, such as `card/data.json is missing`; empty if the folder is valid.
    """
    paths = [*_list_files(folder), folder / MANIFEST]
    return _find_corruption(folder, tuple(map(_get_version, paths)))


@functools.lru_cache(maxsize=64)
def _find_corruption(folder: Path, versions: tuple[tuple[str, int, int], ...]) -> str:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        to_become = manifest.get("to_become", {})
        for name, expected in manifest["crc32"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            found = [path.stat().st_size, _compute_checksum(path)]
            if found not in (expected, to_become.get(name)):
                return f"{name} {_describe_difference(found, expected)}"
    except OSError as error:
        return f"{error.filename} can't be read: {error.strerror}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{MANIFEST} is not a valid manifest"
    return ""


def _describe_difference(found: list[int], expected: list[int]) -> str:
    if found[0] != expected[0]:
        return f"has {found[0]} bytes, expected {expected[0]}"
    return "does not match its checksum"


def _list_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST
    )


def _get_version(path: Path) -> tuple[str, int, int]:
    """Return the path, size and modification time of a file, which change with its content."""
    status = os.stat(path)
    return str(path), status.st_size, status.st_mtime_ns


def _compute_checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
