"""Full images of a dataset, joined from its records; any window of them can be read."""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.sources.bad_records import BadRecords, BlankingSource, SkippingSource
from data_pipelines.sources.records import Decoder, Record, RecordSource
from data_pipelines.sources.windows import Windows, join_blocks, locate_blocks

__all__ = ["StoredImage", "images_from_blocks", "images_from_records"]


@dataclass(frozen=True, eq=False)
class StoredImage:
    """A full image of a split, read window by window.

    Attributes:
        blocks: The source of the blocks that the image is stored as.
        positions: (rows, columns) int, positions of the image's blocks in `blocks`.
        needed: (rows, columns) bool, the blocks whose labels are needed.
        block: (height, width) of a block, in pixels.
        height: Of the image, in pixels; its last blocks may extend beyond.
        width: Of the image, in pixels.
        ignore_label: Value of pixels in masks whose label is not needed.
    """

    blocks: RecordSource | BlankingSource
    positions: np.ndarray
    needed: np.ndarray
    block: tuple[int, int]
    height: int
    width: int
    ignore_label: int

    @property
    def index(self) -> int:
        """Index of the image's first block in the full split; it identifies the image."""
        return int(self.blocks.rows[self.positions[0, 0]])

    def read(self, top: int, left: int, height: int, width: int) -> Record:
        """Read a window, given in pixels.

        Returns:
            `image` (height, width, bands) and, if the dataset has masks, `mask` (height, width).
        """
        covering = self._find_blocks(top, left, height, width)
        record = join_blocks(self.blocks, self.positions[covering])
        needed = self.needed[covering]
        if "mask" in record and not needed.all():
            pixels = needed.repeat(self.block[0], 0).repeat(self.block[1], 1)
            record["mask"][~pixels] = self.ignore_label
        y, x = top - covering[0].start * self.block[0], left - covering[1].start * self.block[1]
        return {name: record[name][y : y + height, x : x + width] for name in record}

    def is_needed(self, top: int, left: int, height: int, width: int) -> bool:
        """Return whether the label of any pixel of a window is needed."""
        return bool(self.needed[self._find_blocks(top, left, height, width)].any())

    def _find_blocks(self, top: int, left: int, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of the blocks that cover a window."""
        rows, columns = self.block
        return (
            slice(top // rows, -(-(top + height) // rows)),
            slice(left // columns, -(-(left + width) // columns)),
        )


def images_from_records(
    source: RecordSource, size: tuple[int, int], bad_records: BadRecords, ignore_label: int
) -> list[StoredImage]:
    """Return each record of a source as an image.

    Args:
        source: The records.
        size: (height, width) of a record, in pixels.
        bad_records: How to handle unreadable records; if they are skipped, they are blank.
        ignore_label: Label of blank pixels.
    """
    blocks = _blank_unreadable(source, bad_records, ignore_label)
    needed = np.ones((1, 1), bool)
    return [
        StoredImage(blocks, np.array([[position]]), needed, size, *size, ignore_label)
        for position in range(len(source))
    ]


def images_from_blocks(
    windows: Windows,
    block: int,
    extents: tfds.features.FeatureConnector,
    bad_records: BadRecords,
    ignore_label: int,
) -> list[StoredImage]:
    """Return the images that the windows are taken from.

    Labels outside all windows are not needed.

    Args:
        windows: Windows over the blocks that the images are stored as.
        block: Side of a block, in pixels.
        extents: The feature `inside`, height and width of the part of a block inside its image.
        bad_records: How to handle unreadable blocks; if they are skipped, they are blank.
        ignore_label: Label of blank pixels, and of those that are not needed.
    """
    blocks = _blank_unreadable(windows.blocks, bad_records, ignore_label)
    needed = np.zeros(len(windows.blocks), bool)
    needed[windows.block_rows[windows.rows]] = True
    inside = replace(windows.blocks, decoders=(Decoder.for_feature("inside", extents),))

    def read_size(positions: np.ndarray) -> tuple[int, int]:
        """Return height and width in pixels, from the extents of the blocks inside the image."""
        height, width = (
            sum(_read_extent(inside, line, axis, block, bad_records) for line in lines)
            for axis, lines in enumerate((positions, positions.T))
        )
        return height, width

    return [
        StoredImage(
            blocks,
            positions,
            needed[positions],
            (block, block),
            *read_size(positions),
            ignore_label,
        )
        for positions in locate_blocks(windows.blocks).values()
        if needed[positions].any()
    ]


def _read_extent(
    inside: RecordSource, line: np.ndarray, axis: int, side: int, bad_records: BadRecords
) -> int:
    """Return how many pixels of a row or a column of blocks lie inside the image."""
    if not bad_records.skip:
        return int(inside[line[0]]["inside"][axis])
    blocks = SkippingSource(inside, bad_records)
    readable = (block for position in line if (block := blocks.read_or_none(position)) is not None)
    # If no block is readable, all are blank, and their extent does not matter.
    return next((int(block["inside"][axis]) for block in readable), side)


def _blank_unreadable(
    blocks: RecordSource, bad_records: BadRecords, ignore_label: int
) -> RecordSource | BlankingSource:
    if not bad_records.skip:
        return blocks
    return BlankingSource(SkippingSource(blocks, bad_records), ignore_label)
