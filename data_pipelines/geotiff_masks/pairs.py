"""Images and their masks in a user's folder: files whose paths differ in nothing but a pattern.

What the wildcards of the images' pattern stand for is an image's name; its mask is the file of
which the wildcards of the masks' pattern say the same. So `images/**/*` and `masks/**/*` go
together, and so do `**/*_sat.jpg` and `**/*_mask.png`.
"""

import re
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from data_pipelines.errors import UserError
from data_pipelines.files.paths import SPLIT_FOLDERS, File, find_files, format_names
from data_pipelines.files.rasters import IMAGE_SUFFIXES

__all__ = ["assign_splits", "pair_images_and_masks"]

_WILDCARDS = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)", "?": "([^/])"}


def pair_images_and_masks(
    folder: Path, images: str, masks: str
) -> tuple[dict[str, File], dict[str, File]]:
    """The files that match the patterns, by what their wildcards stand for.

    Args:
        folder: where to look, unpacked and in zip archives; what is in an archive lies, as it
            were, beside it.
        images: a pattern with the wildcards `**/`, `*` and `?`. Unless it ends in a suffix, that of
            any kind of image will do.
        masks: another one.

    Raises:
        UserError: there is no image, or two files would be the same image or the same mask.
    """
    files = find_files(folder, lambda name: Path(name).suffix.casefold() in IMAGE_SUFFIXES)
    found = _named(files, images)
    if not found:
        there = [file.relative for file in files] or sorted(p.name for p in folder.iterdir())
        raise UserError(
            f"folder {folder}: no image matches {images}; found {format_names(there)}; expected "
            f"images "
            "there, or --config.images=PATTERN and --config.masks=PATTERN"
        )
    return found, _named(files, masks)


def assign_splits(names: Mapping[str, File], validation: float) -> dict[str, str]:
    """The split of each image: of the folder that means one, else by chance, but always the same.

    Args:
        names: the images.
        validation: share that goes into the split of that name, where no folder means a split. If
            it would be all or none of them, there is no such split.

    Raises:
        UserError: some images are in such a folder, and some are not.
    """
    splits = {name: _split_of(name) for name in names}
    if any(splits.values()):
        stray = [name for name, split in splits.items() if not split]
        if stray:
            inside = next(name for name, split in splits.items() if split)
            raise UserError(
                f"file {names[stray[0]]}: is in no folder of a split, as {names[inside]} is; "
                "expected all images in folders train, val and test, or none"
            )
        return splits
    # Not of `hash`, which is another one in every process.
    drawn = {name for name in names if zlib.crc32(name.encode()) / 2**32 < validation}
    if len(drawn) == len(names):
        drawn = set()
    return {name: "validation" if name in drawn else "train" for name in names}


def _named(files: list[File], glob: str) -> dict[str, File]:
    parts = re.split(r"(\*\*/|\*|\?)", glob)
    suffix = "" if PurePosixPath(glob).suffix else r"\.[^./]+"
    pattern = re.compile("".join(_WILDCARDS.get(p, re.escape(p)) for p in parts) + suffix)
    named: dict[str, File] = {}
    for file in files:
        match = pattern.fullmatch(_path(file))
        if match:
            name = "".join(match.groups()).strip("/")
            first = named.setdefault(name, file)
            if first is not file:
                raise UserError(
                    f"file {file}: matches {glob} with the same name, {name!r}, as {first}; "
                    "expected each name once: move one of them away"
                )
    return named


def _path(file: File) -> str:
    """A file's path below the folder, with the contents of an archive beside it."""
    if not file.member:
        return file.relative
    archive = file.relative.removesuffix(f"/{file.member}")
    return (PurePosixPath(archive).parent / file.member).as_posix()


def _split_of(name: str) -> str:
    folders = PurePosixPath(name).parts[:-1]
    return next((SPLIT_FOLDERS[f.casefold()] for f in folders if f.casefold() in SPLIT_FOLDERS), "")
