"""Images of any size, of which any rectangle can be read; and their continuation by reflection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

__all__ = ["LargeImage", "read_reflected", "reflect"]


class LargeImage(Protocol):
    """The interface of an image of any size, of which any rectangle can be read."""

    @property
    def height(self) -> int:
        """The height, in pixels."""
        ...

    @property
    def width(self) -> int:
        """The width, in pixels."""
        ...

    def read(self, top: int, left: int, height: int, width: int) -> Mapping[str, np.ndarray]:
        """Read a rectangle, which is inside the image.

        One thread reads at a time, not always the same.

        Args:
            top: Row of its upper edge, in pixels.
            left: Column of its left edge, in pixels.
            height: Height, in pixels.
            width: Width, in pixels.

        Returns:
            `image` (height, width, bands) in digital numbers, and possibly further arrays (height,
            width), always the same ones. One of them may be `has_data`, bool: a window in which
            no pixel has data is skipped. The arrays must not change after they were returned.
        """
        ...

    def is_needed(self, top: int, left: int, height: int, width: int) -> bool:
        """Return whether any pixel of a rectangle is needed; other windows are skipped."""
        ...


def reflect(start: int, stop: int, size: int) -> np.ndarray:
    """Return the pixels of an axis that positions inside and outside of it show.

    An axis is continued by reflection at its first and last pixel, as often as needed.

    Args:
        start: The first position.
        stop: The position after the last.
        size: Number of pixels.

    Returns:
        Indices of pixels, (stop - start,) int.
    """
    period = max(1, 2 * (size - 1))
    positions = np.arange(start, stop) % period
    return np.minimum(positions, period - positions) if size > 1 else positions


def read_reflected(
    image: LargeImage, top: int, left: int, height: int, width: int
) -> dict[str, np.ndarray]:
    """Read a rectangle of an image that is continued by reflection; only its own pixels are read.

    Args:
        image: The image.
        top: Row of the rectangle's upper edge, in pixels; it may be outside of the image.
        left: Column of its left edge, in pixels, likewise.
        height: Height, in pixels.
        width: Width, in pixels.

    Returns:
        The arrays of `LargeImage.read`.
    """
    rows = reflect(top, top + height, image.height)
    columns = reflect(left, left + width, image.width)
    first_row, first_column = int(rows.min()), int(columns.min())
    arrays = image.read(
        first_row,
        first_column,
        int(rows.max()) + 1 - first_row,
        int(columns.max()) + 1 - first_column,
    )
    outside = (max(0, -top), max(0, top + height - image.height))
    beside = (max(0, -left), max(0, left + width - image.width))
    return {
        name: _take(_take(array, rows - first_row, 0, *outside), columns - first_column, 1, *beside)
        for name, array in arrays.items()
    }


def _take(array: np.ndarray, indices: np.ndarray, axis: int, before: int, after: int) -> np.ndarray:
    """Take elements along an axis; all but some at either end are in order, and copied as one."""
    if not before and not after:
        return array
    if before + after >= len(indices):
        return array.take(indices, axis)
    start, stop = indices[before], indices[len(indices) - after - 1] + 1
    inside = array[start:stop] if axis == 0 else array[:, start:stop]
    ends = (array.take(indices[:before], axis), array.take(indices[len(indices) - after :], axis))
    return np.concatenate([ends[0], inside, ends[1]], axis)
