"""Whole pictures of a dataset, put together from its records, of which any window can be read."""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.sources.records import Decoder, Record, Source
from data_pipelines.sources.skipping import BadRecords, Blanking, Skipping
from data_pipelines.sources.windows import Windows, places_of_cells, together

__all__ = ["StoredPicture", "pictures_of_cells", "pictures_of_records"]


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """A whole picture of a split, of which any window can be read.

    Attributes:
        cells: the source that it is stored in.
        places: (rows, columns) int, where its cells stand in `cells`.
        counted: (rows, columns) bool, the cells whose labels are asked for.
        cell: height and width of a cell, in pixels.
        height: of the picture, in pixels; its last cells may reach beyond.
        width: of the picture, in pixels.
        ignore_label: what masks say where no label is asked for.
    """

    cells: Source | Blanking
    places: np.ndarray
    counted: np.ndarray
    cell: tuple[int, int]
    height: int
    width: int
    ignore_label: int

    @property
    def index(self) -> int:
        """Which picture of its split it is, however the split is cut."""
        return int(self.cells.rows[self.places[0, 0]])

    def read(self, top: int, left: int, height: int, width: int) -> Record:
        """`image` (height, width, bands) and, where it has one, `mask` (height, width)."""
        here = self._cells(top, left, height, width)
        record = together(self.cells, self.places[here])
        counted = self.counted[here]
        if "mask" in record and not counted.all():
            pixels = counted.repeat(self.cell[0], 0).repeat(self.cell[1], 1)
            record["mask"][~pixels] = self.ignore_label
        y, x = top - here[0].start * self.cell[0], left - here[1].start * self.cell[1]
        return {name: record[name][y : y + height, x : x + width] for name in record}

    def wanted(self, top: int, left: int, height: int, width: int) -> bool:
        """Whether the labels of any pixel of a window are asked for."""
        return bool(self.counted[self._cells(top, left, height, width)].any())

    def _cells(self, top: int, left: int, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of cells that hold a window."""
        rows, columns = self.cell
        return (
            slice(top // rows, -(-(top + height) // rows)),
            slice(left // columns, -(-(left + width) // columns)),
        )


def pictures_of_records(
    source: Source, size: tuple[int, int], bad_records: BadRecords, ignore_label: int
) -> list[StoredPicture]:
    """Each record of a source as a picture of `size` (height, width), in pixels.

    Bad records are blank where `bad_records.skip`; `ignore_label` is then their label.
    """
    cells = _blanking(source, bad_records, ignore_label)
    all_of_it = np.ones((1, 1), bool)
    return [
        StoredPicture(cells, np.array([[position]]), all_of_it, size, *size, ignore_label)
        for position in range(len(source))
    ]


def pictures_of_cells(
    windows: Windows,
    cell: int,
    extents: tfds.features.FeatureConnector,
    bad_records: BadRecords,
    ignore_label: int,
) -> list[StoredPicture]:
    """The pictures that any of some windows is of; labels no window sees are not asked for.

    Args:
        windows: over the cells that the pictures are stored as.
        cell: side of a cell, in pixels.
        extents: the feature `inside`, the height and width of a cell that lie in the picture.
        bad_records: what is done about cells that can't be read; blank ones where they are skipped.
        ignore_label: the label of blank pixels, and of those that aren't asked for.
    """
    cells = _blanking(windows.cells, bad_records, ignore_label)
    seen = np.zeros(len(windows.cells), bool)
    seen[windows.cell_rows[windows.rows]] = True
    inside = replace(windows.cells, decoders=(Decoder.of("inside", extents),))

    def size(places: np.ndarray) -> tuple[int, int]:
        """Height and width in pixels, from what the cells say of where the picture ends."""
        height, width = (
            sum(_extent(inside, line, axis, cell, bad_records) for line in lines)
            for axis, lines in enumerate((places, places.T))
        )
        return height, width

    return [
        StoredPicture(cells, places, seen[places], (cell, cell), *size(places), ignore_label)
        for places in places_of_cells(windows.cells).values()
        if seen[places].any()
    ]


def _extent(inside: Source, line: np.ndarray, axis: int, side: int, bad: BadRecords) -> int:
    """How many pixels of a row or a column of cells lie in the picture."""
    if not bad.skip:
        return int(inside[line[0]]["inside"][axis])
    cells = Skipping(inside, bad)
    found = (cell for place in line if (cell := cells.exactly(place)) is not None)
    # Where none can be read none counts, and so it doesn't matter where they end.
    return next((int(cell["inside"][axis]) for cell in found), side)


def _blanking(cells: Source, bad_records: BadRecords, ignore_label: int) -> Source | Blanking:
    if not bad_records.skip:
        return cells
    return Blanking(Skipping(cells, bad_records), ignore_label)
