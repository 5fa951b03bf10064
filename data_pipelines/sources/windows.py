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
from data_pipelines.sources.records import Record, Source
from data_pipelines.sources.skipping import Blanking

__all__ = ["Grid", "Windows", "places_of_cells", "together"]

_KEY = re.compile(rb"(.+)/(\d+)/(\d+)")


class Grid(NamedTuple):
    """How windows lie on cells; in a dataset's metadata under `windows`.

    Attributes:
        cell: side of a cell, in pixels.
        window: side of a window, in cells.
        stride: from one window to the next, in cells.
    """

    cell: int
    window: int
    stride: int

    @classmethod
    def of(cls, window: int, stride: int) -> "Grid":
        """The grid with the largest cells for a window and a stride in pixels."""
        cell = int(np.gcd(window, stride))
        return cls(cell, window // cell, stride // cell)

    def count(self, size: int) -> int:
        """Windows in a row over `size` pixels: as many as it takes to see every pixel."""
        window, stride = self.window * self.cell, self.stride * self.cell
        return 1 + max(0, -(-(size - window) // stride))

    def cells(self, size: int) -> int:
        """Cells in a row for those windows; the last ones may lie beyond the picture."""
        return (self.count(size) - 1) * self.stride + self.window

    def to_dict(self) -> dict[str, int]:
        """The grid as JSON can hold it."""
        return dict(self._asdict())

    @classmethod
    def from_dict(cls, grid: Mapping[str, Any]) -> "Grid":
        """The grid that `to_dict` wrote."""
        return cls(**{name: int(grid[name]) for name in cls._fields})


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of all pictures of a split, by position; read like a `Source`.

    Attributes:
        cells: the source of all cells of the split.
        cell_rows: (windows of the split, window, window) int, where their cells stand in `cells`.
        rows: (windows,) int, those of the split that are in this source.
        keys: (windows of the split,) bytes, `PICTURE/ROW/COLUMN` of the upper left cell.
    """

    cells: Source
    cell_rows: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    @classmethod
    def over(cls, cells: Source, grid: Grid) -> "Windows":
        """All windows over a source of cells.

        Raises:
            UserError: a picture lacks a cell, or a record is none.
        """
        found, keys = [], []
        for picture, places in places_of_cells(cells).items():
            views = np.lib.stride_tricks.sliding_window_view(places, (grid.window, grid.window))[
                :: grid.stride, :: grid.stride
            ]
            found.append(views.reshape(-1, grid.window, grid.window))
            keys += [
                b"%s/%04d/%04d" % (picture, row * grid.stride, column * grid.stride)
                for row in range(views.shape[0])
                for column in range(views.shape[1])
            ]
        cell_rows = np.concatenate(found)
        return cls(cells, cell_rows, np.arange(len(cell_rows)), np.array(keys))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        row = self.rows[position]
        record = together(self.cells, self.cell_rows[row])
        return {**record, "index": np.array(row, np.int32)}

    def identities(self) -> np.ndarray:
        """(windows,) bytes, their names."""
        return self.keys[self.rows]

    def pictures(self) -> np.ndarray:
        """(windows of the split,) int, which picture each is a window of."""
        names = [key.rsplit(b"/", 2)[0] for key in self.keys]
        return np.unique(names, return_inverse=True)[1]

    def apart_from(self, inside: np.ndarray) -> np.ndarray:
        """(windows of the split,) bool: those that share no pixel with the windows of `inside`."""
        seen = np.zeros(len(self.cells), bool)
        seen[self.cell_rows[inside]] = True
        return ~seen[self.cell_rows].any(axis=(1, 2))


def places_of_cells(cells: Source) -> dict[bytes, np.ndarray]:
    """{picture: (rows, columns) int}, where its cells stand in a source of cells.

    Raises:
        UserError: a picture lacks a cell, or a record is none.
    """
    found: dict[bytes, dict[tuple[int, int], int]] = {}
    for row, key in enumerate(cells.keys):
        match = _KEY.fullmatch(key) if isinstance(key, bytes) else None
        if match is None:
            raise UserError(
                f"record {key!r}: is no cell of a picture; expected a key PICTURE/ROW/COLUMN"
            )
        found.setdefault(match[1], {})[int(match[2]), int(match[3])] = row
    places = {}
    for picture, place in found.items():
        height, width = (max(axis) + 1 for axis in zip(*place, strict=True))
        if len(place) != height * width:
            raise UserError(
                f"picture {picture.decode()}: has {len(place)} cells; expected "
                f"{height} × {width}: prepare the dataset again"
            )
        rows = np.array([place[divmod(n, width)] for n in range(height * width)])
        places[picture] = rows.reshape(height, width)
    return places


def together(cells: Source | Blanking, places: np.ndarray) -> Record:
    """What the cells at (rows, columns) places show side by side."""
    records = [[cells[int(place)] for place in line] for line in places]
    return {
        name: np.concatenate(
            [np.concatenate([cell[name] for cell in line], axis=1) for line in records]
        )
        for name in records[0][0]
        if name != "index"
    }
