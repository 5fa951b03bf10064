"""Images and their masks in a user's folder: pairs of files that patterns match in the same way.

The name of an image is the text that the wildcards of the images' pattern match; its mask is the
file for which the wildcards of the masks' pattern match the same text. So `images/**/*` and
`masks/**/*` go together, and so do `**/*_sat.jpg` and `**/*_mask.png`.
"""

import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from data_pipelines.errors import UserError
from data_pipelines.files.paths import SPLIT_FOLDERS, File, format_names
from data_pipelines.files.patterns import match_files
from data_pipelines.files.rasters import find_images

__all__ = ["assign_splits", "pair_images_and_masks"]


def pair_images_and_masks(
    folder: Path, images: str, masks: str, aside: Counter[str] | None = None
) -> tuple[dict[str, File], dict[str, File]]:
    """Find the images and the masks, by name.

    Args:
        folder: The folder to search, including its zip archives; files in an archive are treated as
            if they were unpacked beside it.
        images: Pattern of the images, with the wildcards `**/`, `*` and `?`. Unless it ends with a
            suffix, it matches any image suffix.
        masks: Pattern of the masks, in the same syntax.
        aside: Counts the other files by their kind, see `find_files`.

    Returns:
        {name: image} and {name: mask}; an image and its mask have the same name.

    Raises:
        UserError: If there is no image, or if two images or two masks have the same name.
    """
    files = find_images(folder, aside)
    image_files = _match_by_name(files, images)
    if not image_files:
        names = [file.relative for file in files] or sorted(p.name for p in folder.iterdir())
        raise UserError(
            f"folder {folder}: no image matches {images}; found {format_names(names)}; expected "
            "images there, or --config.images=PATTERN and --config.masks=PATTERN"
        )
    mask_files = _match_by_name(files, masks)
    if aside is not None:
        aside["images of neither pattern"] = len(
            {*files} - {*image_files.values()} - {*mask_files.values()}
        )
        aside["masks without an image"] = len(mask_files.keys() - image_files.keys())
    return image_files, mask_files


def assign_splits(
    names: Mapping[str, File], validation: float, places: Mapping[str, str]
) -> dict[str, str]:
    """Assign each image to a split: by its folder, else pseudo-randomly by its name and place.

    Args:
        names: The images by name.
        validation: Fraction of the images in the split `validation`, if no folder is named after a
            split. If it would get all of the images, it gets none, and there is no such split.
        places: {name of an image: name of the first image of its place}. Images of one place are
            in one split, unless this would leave no split but one.

    Returns:
        {name: split}.

    Raises:
        UserError: If only some of the images are in folders named after splits.
    """
    splits = {name: _find_split(name) for name in names}
    if any(splits.values()):
        unassigned = [name for name, split in splits.items() if not split]
        if unassigned:
            assigned = next(name for name, split in splits.items() if split)
            raise UserError(
                f"file {names[unassigned[0]]}: is in no folder of a split, as {names[assigned]} "
                "is; expected all images in folders train, val and test, or none"
            )
        return splits
    by_name = {name for name in names if _draw(name) < validation}
    keys = {name: places.get(name, name) for name in names}
    selected = {name for name, key in keys.items() if _draw(key) < validation}
    if by_name and not selected:  # the images that were drawn belong to places that weren't
        first = min(keys.values(), key=_draw)
        selected = {name for name, key in keys.items() if key == first}
    if len(selected) == len(names):
        selected = by_name if len(by_name) < len(names) else set()
    return {name: "validation" if name in selected else "train" for name in names}


def _draw(key: str) -> float:
    """Return a pseudo-random number in 0..1 for a key."""
    return zlib.crc32(key.encode()) / 2**32  # because `hash` differs between processes


def _match_by_name(files: list[File], pattern: str) -> dict[str, File]:
    """Return the files that match a pattern, by the text that its wildcards match."""
    matches: dict[str, File] = {}
    for name, file in match_files(files, pattern):
        first = matches.setdefault(name, file)
        if first is not file:
            raise UserError(
                f"file {file}: matches {pattern} with the same name, {name!r}, as {first}; "
                "expected each name once; move one of them elsewhere"
            )
    return matches


def _find_split(name: str) -> str:
    """Return the split of the first folder that is named after one; empty if there is none."""
    folders = PurePosixPath(name).parts[:-1]
    return next((SPLIT_FOLDERS[f.casefold()] for f in folders if f.casefold() in SPLIT_FOLDERS), "")
