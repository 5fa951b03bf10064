"""Whole pictures of a dataset, put together from its records, of which any window can be read."""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.sources.bad_records import BadRecords, BlankingSource, SkippingSource
from data_pipelines.sources.records import Decoder, Record, RecordSource
from data_pipelines.sources.windows import Windows, join_blocks, locate_blocks

__all__ = ["StoredImage", "images_from_blocks", "images_from_records"]


@dataclass(frozen=True, eq=False)
class StoredImage:
    """A whole picture of a split, of which any window can be read.

    Attributes:
        cells: the source that it is stored in.
        places: (rows, columns) int, where its cells stand in `blocks`.
        counted: (rows, columns) bool, the cells whose labels are asked for.
        cell: height and width of a cell, in pixels.
        height: of the picture, in pixels; its last cells may reach beyond.
        width: of the picture, in pixels.
        ignore_label: what masks say where no label is asked for.
    """

    blocks: RecordSource | BlankingSource
    places: np.ndarray
    counted: np.ndarray
    block: tuple[int, int]
    height: int
    width: int
    ignore_label: int

    @property
    def index(self) -> int:
        """Which picture of its split it is, however the split is cut."""
        return int(self.blocks.rows[self.places[0, 0]])

    def read(self, top: int, left: int, height: int, width: int) -> Record:
        """`image` (height, width, bands) and, where it has one, `mask` (height, width)."""
        here = self._cells(top, left, height, width)
        record = join_blocks(self.blocks, self.places[here])
        counted = self.counted[here]
        if "mask" in record and not counted.all():
            pixels = counted.repeat(self.block[0], 0).repeat(self.block[1], 1)
            record["mask"][~pixels] = self.ignore_label
        y, x = top - here[0].start * self.block[0], left - here[1].start * self.block[1]
        return {name: record[name][y : y + height, x : x + width] for name in record}

    def wanted(self, top: int, left: int, height: int, width: int) -> bool:
        """Whether the labels of any pixel of a window are asked for."""
        return bool(self.counted[self._cells(top, left, height, width)].any())

    def _cells(self, top: int, left: int, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of cells that hold a window."""
        rows, columns = self.block
        return (
            slice(top // rows, -(-(top + height) // rows)),
            slice(left // columns, -(-(left + width) // columns)),
        )


def images_from_records(
    source: RecordSource, size: tuple[int, int], bad_records: BadRecords, ignore_label: int
) -> list[StoredImage]:
    """Each record of a source as a picture of `size` (height, width), in pixels.

    Bad records are blank where `bad_records.skip`; `ignore_label` is then their label.
    """
    blocks = _blanking(source, bad_records, ignore_label)
    all_of_it = np.ones((1, 1), bool)
    return [
        StoredImage(blocks, np.array([[position]]), all_of_it, size, *size, ignore_label)
        for position in range(len(source))
    ]


def images_from_blocks(
    windows: Windows,
    block: int,
    extents: tfds.features.FeatureConnector,
    bad_records: BadRecords,
    ignore_label: int,
) -> list[StoredImage]:
    """The pictures that any of some windows is of; labels no window sees are not asked for.

    Args:
        windows: over the cells that the pictures are stored as.
        cell: side of a cell, in pixels.
        extents: the feature `inside`, the height and width of a cell that lie in the picture.
        bad_records: what is done about cells that can't be read; blank ones where they are skipped.
        ignore_label: the label of blank pixels, and of those that aren't asked for.
    """
    blocks = _blanking(windows.blocks, bad_records, ignore_label)
    seen = np.zeros(len(windows.blocks), bool)
    seen[windows.block_rows[windows.rows]] = True
    inside = replace(windows.blocks, decoders=(Decoder.for_feature("inside", extents),))

    def size(places: np.ndarray) -> tuple[int, int]:
        """Height and width in pixels, from what the cells say of where the picture ends."""
        height, width = (
            sum(_extent(inside, line, axis, block, bad_records) for line in lines)
            for axis, lines in enumerate((places, places.T))
        )
        return height, width

    return [
        StoredImage(blocks, places, seen[places], (block, block), *size(places), ignore_label)
        for places in locate_blocks(windows.blocks).values()
        if seen[places].any()
    ]


def _extent(inside: RecordSource, line: np.ndarray, axis: int, side: int, bad: BadRecords) -> int:
    """How many pixels of a row or a column of cells lie in the picture."""
    if not bad.skip:
        return int(inside[line[0]]["inside"][axis])
    blocks = SkippingSource(inside, bad)
    found = (block for place in line if (block := blocks.read_or_none(place)) is not None)
    # Where none can be read none counts, and so it doesn't matter where they end.
    return next((int(block["inside"][axis]) for block in found), side)


def _blanking(
    blocks: RecordSource, bad_records: BadRecords, ignore_label: int
) -> RecordSource | BlankingSource:
    if not bad_records.skip:
        return blocks
    return BlankingSource(SkippingSource(blocks, bad_records), ignore_label)
