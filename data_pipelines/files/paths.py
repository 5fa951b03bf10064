"""A user's files, whether they lie in folders or in zip archives that nobody has unpacked."""

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_pipelines.errors import UserError

__all__ = ["SPLIT_FOLDERS", "File", "find_files", "format_names", "walk"]

# Names of folders that mean a split, in small letters.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, order=True)
class File:
    """A file in a folder or in a zip archive. Can be pickled.

    Attributes:
        relative: its path below the folder that was searched; an archive counts as a folder of the
            archive's name.
        path: the file itself, or the archive it is in.
        member: its name in the archive; empty if it is in none.
    """

    relative: str
    path: str
    member: str = ""

    @property
    def name(self) -> str:
        """The last part of its path, such as `beach_1.jpg`."""
        return PurePosixPath(self.relative).name

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return PurePosixPath(self.relative).stem

    @property
    def suffix(self) -> str:
        """Such as `.tif`, in small letters."""
        return PurePosixPath(self.relative).suffix.casefold()

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders it is in, outermost first."""
        return PurePosixPath(self.relative).parts[:-1]

    @property
    def gdal(self) -> str:
        """Its path as GDAL opens it."""
        return f"/vsizip/{{{self.path}}}/{self.member}" if self.member else self.path

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else self.path


def find_files(folder: Path, wanted: Callable[[str], bool]) -> list[File]:
    """All files below a folder and in the zip archives there, in the order of their names.

    Linked folders are searched too. Hidden files are left out, and so is what macOS adds to
    archives.

    Args:
        folder: where to look, at any depth.
        wanted: whether a file of this name is.

    Raises:
        UserError: an archive is damaged.
    """
    found = []
    for path in walk(folder):
        relative = path.relative_to(folder).as_posix()
        if path.suffix.casefold() == ".zip":
            found += _members(path, relative, wanted)
        elif wanted(path.name):
            found.append(File(relative, os.fspath(path)))
    return sorted(found)


def walk(folder: Path, leave_out: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files below a folder, in linked folders too; hidden ones are left out.

    Folders whose names begin with one of `leave_out` are not looked into.
    """
    seen: set[str] = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:  # by a link to a folder above, say
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(
            name for name in folders if not _hidden(name) and not name.startswith(leave_out)
        )
        yield from (Path(where, name) for name in names if not _hidden(name))


def format_names(names: Sequence[str], most: int = 5) -> str:
    """The first few names, for a message."""
    return (", ".join(names[:most]) + (", …" if len(names) > most else "")) or "nothing"


def _members(archive: Path, relative: str, wanted: Callable[[str], bool]) -> list[File]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info.filename for info in opened.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(
            f"archive {archive}: isn't a whole zip archive ({error}); get it again"
        ) from error
    return [
        File(f"{relative}/{member}", os.fspath(archive), member)
        for member in members
        if wanted(PurePosixPath(member).name)
        and not any(_hidden(part) for part in PurePosixPath(member).parts)
    ]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
