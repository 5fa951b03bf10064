"""A user's files by patterns such as `**/images/*`, in folders and archives alike."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from data_pipelines.files.paths import File

__all__ = ["match_files"]

_WILDCARDS = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)", "?": "([^/])"}


def match_files(files: Iterable[File], pattern: str) -> list[tuple[str, File]]:
    """Find the files that match a pattern.

    Letters with accents match in composed and in decomposed Unicode, suffixes in any case, and
    `.tif` also `.tiff`.

    Args:
        files: The files; those in an archive are treated as if they were unpacked beside it.
        pattern: The pattern, with the wildcards `**/`, `*` and `?`. Unless it ends with a suffix,
            it matches any suffix.

    Returns:
        The text that the wildcards match, in composed Unicode, and the file, in order.
    """
    pattern = unicodedata.normalize("NFC", pattern)
    suffix = PurePosixPath(pattern).suffix
    parts = re.split(r"(\*\*/|\*|\?)", pattern.removesuffix(suffix))
    end = "".join(_translate(part) for part in re.split(r"(\*|\?)", suffix))
    end += "f?" * (suffix.casefold() == ".tif")
    regex = re.compile("".join(map(_translate, parts)) + (f"(?i:{end})" if suffix else r"\.[^./]+"))
    matches = []
    for file in files:
        if match := regex.fullmatch(unicodedata.normalize("NFC", _make_unpacked_path(file))):
            matches.append(("".join(match.groups()).strip("/"), file))
    return matches


def _translate(part: str) -> str:
    return _WILDCARDS.get(part, re.escape(part))


def _make_unpacked_path(file: File) -> str:
    """Return a file's path below the folder, as if its archive were unpacked beside itself."""
    if not file.member:
        return file.relative
    archive = file.relative.removesuffix(f"/{file.member}")
    return (PurePosixPath(archive).parent / file.member).as_posix()
