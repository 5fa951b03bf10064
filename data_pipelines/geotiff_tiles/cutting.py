"""Cutting images into tiles, and dividing these by place."""

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.imagery.headers import Header
from data_pipelines.imagery.places import Box, make_box, overlap

__all__ = ["Tile", "cut_into_tiles", "describe_cutting", "divide_by_place"]


class Tile(NamedTuple):
    """A tile of an image.

    Attributes:
        row: Row of the tile's top left pixel.
        column: Column of the tile's top left pixel.
        key: Key of the tile, unique in the dataset.
        draw: Pseudo-random number in 0..1, a hash of the location, equal for tiles of one location.
        box: Its place; None if the image doesn't say.
    """

    row: int
    column: int
    key: str
    draw: float
    box: Box | None


def cut_into_tiles(header: Header, size: int, stride: int) -> Iterator[Tile]:
    """Cut an image into tiles of `size` pixels; remainders at its right and bottom are left out."""
    height, width = header.size
    name, transform = header.file.relative, header.transform
    extent = size * np.hypot(transform.a, transform.d) if transform else 0.0
    for row, column in itertools.product(
        range(0, height - size + 1, stride), range(0, width - size + 1, stride)
    ):
        key = location = f"{name}/{row}/{column}"
        if transform:
            # Tiles of one location at several dates must be in the same split.
            x, y = transform * (column, row)
            location = f"{round(x / extent)}/{round(y / extent)}"
        draw = zlib.crc32(location.encode()) / 2**32
        yield Tile(row, column, key, draw, make_box(header, row, column, size))


def describe_cutting(headers: Sequence[Header], size: int, stride: int) -> str:
    """Describe what share of the images their tiles cover, and what is left out.

    Args:
        headers: Headers of the images.
        size: Side of a tile, in pixels.
        stride: Distance from one tile to the next, in pixels.
    """
    area = sum(header.size[0] * header.size[1] for header in headers)
    large = [header for header in headers if min(header.size) >= size]
    covered = [tuple((side - size) // stride * stride + size for side in h.size) for h in large]
    share = sum(height * width for height, width in covered) / max(area, 1)
    text = f"tiles cover {share:.1%} of the images' pixels"
    cut = sum(header.size != sides for header, sides in zip(large, covered, strict=True))
    if cut:
        text += f"; {cut:,} of {len(headers):,} lose a remainder at the right or the bottom"
    if len(large) < len(headers):
        small = next(header for header in headers if min(header.size) < size)
        text += (
            f"; left out as smaller than a tile of {size} × {size} pixels: "
            f"{len(headers) - len(large):,}, such as {small.file}, {small.size[0]} × "
            f"{small.size[1]}"
        )
    return text


def divide_by_place(tiles: Iterable[Tile], fraction: float) -> dict[str, str]:
    """Divide tiles into the splits `train` and `validation`, which share no place.

    Args:
        tiles: The tiles of all images.
        fraction: Fraction of the locations in the split `validation`.

    Returns:
        {key of a tile: split}; without the tiles of `train` that overlap one of `validation`, which
        images of one place on different pixel grids have.
    """
    tiles = list(tiles)
    sides = [max(b.right - b.left, b.top - b.bottom) for t in tiles if (b := t.box)]
    side = max(sides, default=1.0)
    occupied: dict[_Cell, list[Box]] = {}
    splits = {tile.key: "validation" for tile in tiles if tile.draw < fraction}
    for tile in tiles:
        if tile.key in splits and tile.box:
            for cell in _find_cells(tile.box, side):
                occupied.setdefault(cell, []).append(tile.box)
    for tile in tiles:
        if tile.key not in splits and not _overlaps_any(tile.box, side, occupied):
            splits[tile.key] = "train"
    return splits


_Cell = tuple[str, int, int]


def _overlaps_any(box: Box | None, side: float, occupied: Mapping[_Cell, Sequence[Box]]) -> bool:
    if box is None:
        return False
    cells = _find_cells(box, side)
    return any(overlap(box, other) for cell in cells for other in occupied.get(cell, ()))


def _find_cells(box: Box, side: float) -> list[_Cell]:
    """Return the squares of a grid, of the given side, that a box touches."""
    xs = range(math.floor(box.left / side), math.floor(box.right / side) + 1)
    ys = range(math.floor(box.bottom / side), math.floor(box.top / side) + 1)
    return [(box.system, x, y) for x, y in itertools.product(xs, ys)]
