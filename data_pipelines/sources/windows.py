"""Overlapping windows, put together from cells that are stored once.

A picture of thousands of pixels is stored as a grid of square cells, each a record whose key ends
in its place: `PICTURE/ROW/COLUMN`. Windows of 600 pixels with a stride of 300 share their cells of
300, where windows stored whole would take four times the disk.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import BlankingSource
from data_pipelines.sources.records import Record, RecordSource

__all__ = ["WindowGrid", "Windows", "join_blocks", "locate_blocks"]

_KEY = re.compile(rb"(.+)/(\d+)/(\d+)")


class WindowGrid(NamedTuple):
    """How windows lie on cells; in a dataset's metadata under `windows`.

    Attributes:
        cell: side of a cell, in pixels.
        window: side of a window, in cells.
        stride: from one window to the next, in cells.
    """

    block: int
    window: int
    stride: int

    @classmethod
    def from_pixels(cls, window: int, stride: int) -> "WindowGrid":
        """The grid with the largest cells for a window and a stride in pixels."""
        block = int(np.gcd(window, stride))
        return cls(block, window // block, stride // block)

    def count(self, size: int) -> int:
        """Windows in a row over `size` pixels: as many as it takes to see every pixel."""
        window, stride = self.window * self.block, self.stride * self.block
        return 1 + max(0, -(-(size - window) // stride))

    def blocks(self, size: int) -> int:
        """Cells in a row for those windows; the last ones may lie beyond the picture."""
        return (self.count(size) - 1) * self.stride + self.window

    def to_dict(self) -> dict[str, int]:
        """The grid as JSON can hold it."""
        return {"cell": self.block, "window": self.window, "stride": self.stride}

    @classmethod
    def from_dict(cls, grid: Mapping[str, Any]) -> "WindowGrid":
        """The grid that `to_dict` wrote."""
        return cls(*(int(grid[name]) for name in ("cell", "window", "stride")))


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of all pictures of a split, by position; read like a `RecordSource`.

    Attributes:
        cells: the source of all cells of the split.
        cell_rows: (windows of the split, window, window) int, where their cells stand in `blocks`.
        rows: (windows,) int, those of the split that are in this source.
        keys: (windows of the split,) bytes, `PICTURE/ROW/COLUMN` of the upper left cell.
    """

    blocks: RecordSource
    block_rows: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    @classmethod
    def over_blocks(cls, blocks: RecordSource, grid: WindowGrid) -> "Windows":
        """All windows over a source of cells.

        Raises:
            UserError: a picture lacks a cell, or a record is none.
        """
        found, keys = [], []
        for image, places in locate_blocks(blocks).items():
            views = np.lib.stride_tricks.sliding_window_view(places, (grid.window, grid.window))[
                :: grid.stride, :: grid.stride
            ]
            found.append(views.reshape(-1, grid.window, grid.window))
            keys += [
                b"%s/%04d/%04d" % (image, row * grid.stride, column * grid.stride)
                for row in range(views.shape[0])
                for column in range(views.shape[1])
            ]
        block_rows = np.concatenate(found)
        return cls(blocks, block_rows, np.arange(len(block_rows)), np.array(keys))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        row = self.rows[position]
        record = join_blocks(self.blocks, self.block_rows[row])
        return {**record, "index": np.array(row, np.int32)}

    def example_ids(self) -> np.ndarray:
        """(windows,) bytes, their names."""
        return self.keys[self.rows]

    def images(self) -> np.ndarray:
        """(windows of the split,) int, which picture each is a window of."""
        names = [key.rsplit(b"/", 2)[0] for key in self.keys]
        return np.unique(names, return_inverse=True)[1]

    def disjoint_from(self, inside: np.ndarray) -> np.ndarray:
        """(windows of the split,) bool: those that share no pixel with the windows of `inside`."""
        seen = np.zeros(len(self.blocks), bool)
        seen[self.block_rows[inside]] = True
        return ~seen[self.block_rows].any(axis=(1, 2))


def locate_blocks(blocks: RecordSource) -> dict[bytes, np.ndarray]:
    """{picture: (rows, columns) int}, where its cells stand in a source of cells.

    Raises:
        UserError: a picture lacks a cell, or a record is none.
    """
    found: dict[bytes, dict[tuple[int, int], int]] = {}
    for row, key in enumerate(blocks.keys):
        match = _KEY.fullmatch(key) if isinstance(key, bytes) else None
        if match is None:
            raise UserError(
                f"record {key!r}: is no cell of a picture; expected a key PICTURE/ROW/COLUMN"
            )
        found.setdefault(match[1], {})[int(match[2]), int(match[3])] = row
    places = {}
    for image, place in found.items():
        height, width = (max(axis) + 1 for axis in zip(*place, strict=True))
        if len(place) != height * width:
            raise UserError(
                f"picture {image.decode()}: has {len(place)} cells; expected "
                f"{height} × {width}: prepare the dataset again"
            )
        rows = np.array([place[divmod(n, width)] for n in range(height * width)])
        places[image] = rows.reshape(height, width)
    return places


def join_blocks(blocks: RecordSource | BlankingSource, places: np.ndarray) -> Record:
    """What the cells at (rows, columns) places show side by side."""
    records = [[blocks[int(place)] for place in line] for line in places]
    return {
        name: np.concatenate(
            [np.concatenate([block[name] for block in line], axis=1) for line in records]
        )
        for name in records[0][0]
        if name != "index"
    }
