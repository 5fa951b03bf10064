"""Images that show the same place, which must not be on both sides of a split."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.imagery.headers import Header

__all__ = ["Box", "describe_shared_places", "group_by_place", "make_box", "overlap"]

# Share of the smaller side of two boxes by which they may overlap: rounded coordinates, and the
# pixels of a grid that is shifted by less than a pixel, are no common place.
_TOLERANCE = 0.01


class Box(NamedTuple):
    """The place of an image.

    Attributes:
        system: Its coordinate reference system.
        left: Smallest x.
        bottom: Smallest y.
        right: Largest x.
        top: Largest y.
    """

    system: str
    left: float
    bottom: float
    right: float
    top: float


def make_box(header: Header, row: int = 0, column: int = 0, size: int = 0) -> Box | None:
    """Return the place of an image, or of a square part of it; None if it doesn't say.

    Args:
        header: Header of the image.
        row: Row of the part's top left pixel.
        column: Column of the part's top left pixel.
        size: Side of the part, in pixels; 0 for the whole image.
    """
    if header.transform is None:
        return None
    height, width = (size, size) if size else header.size
    corners = [header.transform * (column + x, row + y) for x in (0, width) for y in (0, height)]
    xs, ys = zip(*corners, strict=True)
    system = header.crs.to_string() if header.crs else ""
    return Box(system, min(xs), min(ys), max(xs), max(ys))


def overlap(a: Box, b: Box) -> bool:
    """Return whether two boxes of one system overlap."""
    x = min(a.right - a.left, b.right - b.left) * _TOLERANCE
    y = min(a.top - a.bottom, b.top - b.bottom) * _TOLERANCE
    return (
        min(a.right, b.right) - max(a.left, b.left) > x
        and min(a.top, b.top) - max(a.bottom, b.bottom) > y
    )


def group_by_place(headers: Mapping[str, Header]) -> dict[str, str]:
    """Group images that overlap, directly or through others.

    Args:
        headers: The headers of images, by name.

    Returns:
        {name: the first name of its group, in alphabetical order}.
    """
    first = {name: name for name in headers}

    def find(name: str) -> str:
        while first[name] != name:
            first[name] = name = first[first[name]]
        return name

    for a, b in _find_pairs(headers):
        low, high = sorted((find(a), find(b)))
        first[high] = low
    return {name: find(name) for name in headers}


def describe_shared_places(headers: Mapping[str, Header], splits: Mapping[str, str]) -> str:
    """Describe images of different splits that overlap; empty if there are none.

    Args:
        headers: The headers of images, by name.
        splits: {name: split}.
    """
    pairs = [(a, b) for a, b in _find_pairs(headers) if splits[a] != splits[b]]
    if not pairs:
        return ""
    images = {name for pair in pairs for name in pair}
    a, b = pairs[0]
    return (
        f"{len(images):,} images overlap one of another split by place, such as {a} of "
        f"{splits[a]} and {b} of {splits[b]}: their common pixels are on both sides"
    )


def _find_pairs(headers: Mapping[str, Header]) -> list[tuple[str, str]]:
    """Find the pairs of images that overlap."""
    boxes: dict[str, list[tuple[str, Box]]] = {}
    for name, header in sorted(headers.items()):
        if box := make_box(header):
            boxes.setdefault(box.system, []).append((name, box))
    return [pair for group in boxes.values() for pair in _find_pairs_of_system(group)]


def _find_pairs_of_system(group: Sequence[tuple[str, Box]]) -> list[tuple[str, str]]:
    order = sorted(group, key=lambda named: named[1].left)
    lefts = np.array([box.left for _, box in order])
    pairs = []
    for index, (name, box) in enumerate(order):
        stop = int(np.searchsorted(lefts, box.right))
        pairs += [
            (name, other) for other, other_box in order[index + 1 : stop] if overlap(box, other_box)
        ]
    return pairs
