"""A user's files, in folders or in zip archives, which are read without unpacking."""

import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_pipelines.errors import UserError

__all__ = [
    "SPLIT_FOLDERS",
    "File",
    "find_files",
    "format_counts",
    "format_names",
    "list_archive",
    "refuse_url",
    "walk",
]

# {lower-case name of a folder: the split that its files belong to}.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def refuse_url(path: str | Path) -> None:
    """Check that a path is not a URL, which would be taken for a folder of that name.

    Args:
        path: A path, or a command-line argument such as `--workdir=runs/a`.

    Raises:
        UserError: If it is a URL, such as `gs://bucket/run`, also after a `Path` dropped a slash.
    """
    if match := re.match(r"(?:--?[\w.]+=)?([a-z][a-z0-9+.-]+):/+(.*)", str(path)):
        raise UserError(
            f"{match[1]}://{match[2]}: is a URL; expected a path on this machine: mount the bucket "
            "(gcsfuse, mount-s3), or copy it"
        )


@dataclass(frozen=True, order=True)
class File:
    """A file in a folder or in a zip archive. Picklable.

    Attributes:
        relative: Path relative to the folder that was searched; an archive counts as a folder of
            the archive's name.
        path: Path of the file itself, or of the archive that contains it.
        member: Name within the archive; empty if the file is not in an archive.
    """

    relative: str
    path: str
    member: str = ""

    @property
    def name(self) -> str:
        """The last component of its path, such as `beach_1.jpg`."""
        return PurePosixPath(self.relative).name

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return PurePosixPath(self.relative).stem

    @property
    def suffix(self) -> str:
        """Its suffix in lower case, such as `.tif`."""
        return PurePosixPath(self.relative).suffix.casefold()

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders that contain it, outermost first."""
        return PurePosixPath(self.relative).parts[:-1]

    @property
    def gdal_path(self) -> str:
        """Its path in GDAL's notation."""
        return f"/vsizip/{{{self.path}}}/{self.member}" if self.member else self.path

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else self.path


def find_files(
    folder: Path, predicate: Callable[[str], bool], aside: Counter[str] | None = None
) -> list[File]:
    """Find files below a folder and in the zip archives there.

    Symbolic links to folders are followed. Hidden files, and those that macOS adds to archives, are
    excluded.

    Args:
        folder: Folder to search, at any depth.
        predicate: Function that returns whether to include the file of a name.
        aside: Counts the files that are not included by their kind, which is their suffix or
            `hidden`.

    Returns:
        The files, sorted by their relative paths.

    Raises:
        UserError: If an archive is corrupt.
    """
    aside = Counter() if aside is None else aside
    files = []
    for path in walk(folder, aside=aside):
        relative = path.relative_to(folder).as_posix()
        if path.suffix.casefold() == ".zip":
            files += _list_zip_members(path, relative, predicate, aside)
        elif predicate(path.name):
            files.append(File(relative, os.fspath(path)))
        else:
            aside[_get_kind(path.name)] += 1
    return sorted(files)


def list_archive(archive: Path) -> list[File]:
    """List the files in a zip archive, whose paths are relative to the archive's folder.

    Args:
        archive: The archive.

    Raises:
        UserError: If it is corrupt.
    """
    return sorted(_list_zip_members(archive, archive.name, lambda name: True, Counter()))


def walk(
    folder: Path, exclude_prefixes: tuple[str, ...] = (), aside: Counter[str] | None = None
) -> Iterator[Path]:
    """List all files below a folder, following symbolic links, without hidden ones.

    Args:
        folder: Folder to search, at any depth.
        exclude_prefixes: Folders whose names begin with one of these are not searched.
        aside: Counts the hidden files and folders.

    Yields:
        Path of each file.
    """
    visited: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:  # such as by a link to a parent folder
            folders.clear()
            continue
        visited.add(real)
        if aside is not None:
            aside["hidden"] += sum(map(_is_hidden, (*folders, *names)))
        folders[:] = sorted(
            name
            for name in folders
            if not _is_hidden(name) and not name.startswith(exclude_prefixes)
        )
        yield from (Path(root, name) for name in names if not _is_hidden(name))


def format_counts(counts: Counter[str]) -> str:
    """Format the numbers of files of each kind, the commonest first, without zeros."""
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common() if count)


def format_names(names: Sequence[str], limit: int = 5) -> str:
    """Format the first `limit` names for a message, or `nothing` if there are none."""
    return (", ".join(names[:limit]) + (", …" if len(names) > limit else "")) or "nothing"


def _list_zip_members(
    archive: Path, relative: str, predicate: Callable[[str], bool], aside: Counter[str]
) -> list[File]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info.filename for info in opened.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(
            f"archive {archive}: is corrupt or not a complete zip archive ({error}); copy or "
            "download it again"
        ) from error
    files = []
    for member in members:
        path = PurePosixPath(member)
        if any(map(_is_hidden, path.parts)):
            aside["hidden"] += 1
        elif predicate(path.name):
            files.append(File(f"{relative}/{member}", os.fspath(archive), member))
        else:
            aside[_get_kind(path.name)] += 1
    return files


def _get_kind(name: str) -> str:
    return PurePosixPath(name).suffix.casefold() or "without suffix"


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
