"""Overlapping windows, joined from blocks that are stored once.

An image of thousands of pixels is stored as a grid of square blocks, each a record whose key ends
with its position: `PICTURE/ROW/COLUMN`. Windows of 600 pixels with a stride of 300 share their
blocks of 300 pixels; stored as they are, the windows would take four times the disk space.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import BlankingSource
from data_pipelines.sources.records import Record, RecordSource

__all__ = ["WindowGrid", "Windows", "crop_to_inside", "join_blocks", "locate_blocks"]

_KEY = re.compile(rb"(.+)/(\d+)/(\d+)")


class WindowGrid(NamedTuple):
    """The layout of windows on blocks; stored in a dataset's metadata under `windows`.

    Attributes:
        block: Side of a block, in pixels.
        window: Side of a window, in blocks.
        stride: Distance from one window to the next, in blocks.
    """

    block: int
    window: int
    stride: int

    @classmethod
    def from_pixels(cls, window: int, stride: int) -> "WindowGrid":
        """Make the grid with the largest blocks for a window and a stride in pixels."""
        block = int(np.gcd(window, stride))
        return cls(block, window // block, stride // block)

    def count_windows(self, size: int) -> int:
        """Return the number of windows in a row that are required to cover `size` pixels."""
        window, stride = self.window * self.block, self.stride * self.block
        return 1 + max(0, -(-(size - window) // stride))

    def count_blocks(self, size: int) -> int:
        """Return the number of blocks in a row of those windows; the last may exceed the image."""
        return (self.count_windows(size) - 1) * self.stride + self.window

    def to_dict(self) -> dict[str, int]:
        """Return the grid in JSON types."""
        return {"cell": self.block, "window": self.window, "stride": self.stride}

    @classmethod
    def from_dict(cls, grid: Mapping[str, Any]) -> "WindowGrid":
        """Make a grid from the result of `to_dict`."""
        return cls(*(int(grid[name]) for name in ("cell", "window", "stride")))


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of all images of a split, by position; read like a `RecordSource`.

    Attributes:
        blocks: The source of all blocks of the split.
        block_rows: (windows of the split, window, window) int, positions in `blocks` of the blocks
            of each window.
        rows: (windows,) int, indices in the split of the windows of this source.
        keys: (windows of the split,) bytes, `PICTURE/ROW/COLUMN` of the top left block.
    """

    blocks: RecordSource
    block_rows: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    @classmethod
    def over_blocks(cls, blocks: RecordSource, grid: WindowGrid) -> "Windows":
        """Make all windows over a source of blocks.

        Args:
            blocks: The blocks of a split.
            grid: The layout of the windows.

        Raises:
            UserError: If a block is missing, or a record is no block.
        """
        block_rows, keys = [], []
        for image, positions in locate_blocks(blocks).items():
            shape = (grid.window, grid.window)
            views = np.lib.stride_tricks.sliding_window_view(positions, shape)
            views = views[:: grid.stride, :: grid.stride]
            block_rows.append(views.reshape(-1, *shape))
            keys += [
                b"%s/%04d/%04d" % (image, row * grid.stride, column * grid.stride)
                for row in range(views.shape[0])
                for column in range(views.shape[1])
            ]
        count = sum(map(len, block_rows))
        return cls(blocks, np.concatenate(block_rows), np.arange(count), np.array(keys))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        row = self.rows[position]
        record = join_blocks(self.blocks, self.block_rows[row])
        return {**record, "index": np.array(row, np.int32)}

    def example_ids(self) -> np.ndarray:
        """Return the (windows,) bytes keys, in the order of this source."""
        return self.keys[self.rows]

    def find_images(self) -> np.ndarray:
        """Return (windows of the split,) int, the index of the image that each belongs to."""
        names = [key.rsplit(b"/", 2)[0] for key in self.keys]
        return np.unique(names, return_inverse=True)[1]

    def disjoint_from(self, rows: np.ndarray) -> np.ndarray:
        """Find the windows that share no pixel with the given ones.

        Args:
            rows: Indices in the split, or mask over the split, of the given windows.

        Returns:
            (windows of the split,) bool.
        """
        covered = np.zeros(len(self.blocks), bool)
        covered[self.block_rows[rows]] = True
        return ~covered[self.block_rows].any(axis=(1, 2))


def locate_blocks(blocks: RecordSource) -> dict[bytes, np.ndarray]:
    """Find the blocks of each image in a source of blocks.

    Returns:
        {image: (rows, columns) int}, positions of the image's blocks in `blocks`.

    Raises:
        UserError: If a block is missing, or a record is no block.
    """
    located: dict[bytes, dict[tuple[int, int], int]] = {}
    for position, key in enumerate(blocks.keys):
        match = _KEY.fullmatch(key) if isinstance(key, bytes) else None
        if match is None:
            raise UserError(
                f"record {key!r}: is no block of an image; expected a key PICTURE/ROW/COLUMN"
            )
        located.setdefault(match[1], {})[int(match[2]), int(match[3])] = position
    arrays = {}
    for image, positions in located.items():
        height, width = (max(axis) + 1 for axis in zip(*positions, strict=True))
        if len(positions) != height * width:
            raise UserError(
                f"image {image.decode()}: has {len(positions)} blocks; expected "
                f"{height} × {width}; prepare the dataset again with --overwrite"
            )
        flat = np.array([positions[divmod(n, width)] for n in range(height * width)])
        arrays[image] = flat.reshape(height, width)
    return arrays


def join_blocks(blocks: RecordSource | BlankingSource, positions: np.ndarray) -> Record:
    """Join the blocks at (rows, columns) positions to one record, without `index`."""
    records = [[blocks[int(position)] for position in line] for line in positions]
    return {
        name: np.concatenate(
            [np.concatenate([block[name] for block in line], axis=1) for line in records]
        )
        for name in records[0][0]
        if name != "index"
    }


def crop_to_inside(image: np.ndarray, example: Mapping[str, Any]) -> np.ndarray:
    """Crop padding off an image, if the example has the feature `inside`.

    Args:
        image: (h, w, ...) array, padded at the bottom and on the right.
        example: The example; its feature `inside`, (2,) int, is the height and width without
            padding.
    """
    height, width = example.get("inside", image.shape[:2])
    return image[:height, :width]
