"""The images of a folder: files with all bands, or one file per band, or Sentinel-2 products."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, format_names
from data_pipelines.files.patterns import match_files
from data_pipelines.files.rasters import find_images
from data_pipelines.imagery.products import find_products

__all__ = ["TileSource", "find_sources"]


class TileSource(NamedTuple):
    """An image to cut into tiles.

    Attributes:
        files: Its files: one with all bands, or one per band.
        offset: Added to the numbers of each file, as the image's metadata say; empty for none.
        level: Processing level of a Sentinel-2 product, such as `L2A`; empty for other images.
    """

    files: tuple[File, ...]
    offset: tuple[float, ...] = ()
    level: str = ""


def find_sources(
    folder: Path, pattern: str, file_bands: Sequence[str], aside: Counter[str]
) -> list[TileSource]:
    """Find the images of a folder, in the order of their names.

    Args:
        folder: The folder to search, including its zip archives.
        pattern: Pattern of the files. If it contains `{band}`, each file contains one band.
        file_bands: Names of the bands in file names, which stand for `{band}`.
        aside: Counts the other files by their kind, see `find_files`.

    Raises:
        UserError: If there is no image, or the file of a band is missing.
    """
    files = find_images(folder, aside)
    if "{band}" in pattern and (products := find_products(files, file_bands)):
        sources = [TileSource(p.files, p.offset, p.level) for p in products]
    elif "{band}" in pattern:
        sources = _find_single_bands(files, pattern, file_bands)
    else:
        sources = [TileSource((file,)) for _, file in match_files(files, pattern)]
    if not sources:
        names = [file.relative for file in files] or sorted(p.name for p in folder.iterdir())
        shown = pattern.replace("{band}", file_bands[0]) if file_bands else pattern
        raise UserError(
            f"folder {folder}: no file matches {shown}; it contains {format_names(names)}; "
            "expected images there, or --config.pattern=PATTERN"
        )
    used = {file for source in sources for file in source.files}
    aside["images that don't match"] = len(set(files) - used)
    return sources


def _find_single_bands(
    files: Sequence[File], pattern: str, file_bands: Sequence[str]
) -> list[TileSource]:
    """Find the images whose bands are in files of their own."""
    by_band = [
        {name: file for name, file in match_files(files, pattern.replace("{band}", band))}
        for band in file_bands
    ]
    names = dict.fromkeys(itertools.chain(*by_band[:1]))
    sources = []
    for name in names:
        missing = [
            band for band, of_band in zip(file_bands, by_band, strict=True) if name not in of_band
        ]
        if missing:
            first = by_band[0][name]
            absent = ", ".join(first.name.replace(file_bands[0], band) for band in missing)
            raise UserError(f"folder {Path(str(first)).parent}: lacks {absent} beside {first.name}")
        sources.append(TileSource(tuple(of_band[name] for of_band in by_band)))
    return sources
