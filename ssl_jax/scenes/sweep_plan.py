"""The plan of a sweep: which windows an image is seen through, and in what portions.

A window every `stride` pixels, beginning half an overlap before the image and going on until it is
covered with the same margin at its other end: a pixel is then never further than half a stride
from the middle of a window. All of it follows from the size of the image, the windows and the
number of outputs. How many devices and processes do the work, where they begin and where they were
interrupted has no influence, so that each pixel is a sum of the same windows in the same order.

    lane      consecutive columns of windows, down which one sweep goes
    block     consecutive rows of a lane's windows, and the pixels that are finished with them
    segment   consecutive rows of a block's windows, whose needed windows form groups
    group     the windows that go through the network together
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

__all__ = ["Block", "SlidingWindow", "SweepPlan", "compute_weights", "deal"]

Item = TypeVar("Item")

# Of a window that an image fits into, in pixels: the deepest maps of networks are 32 times smaller.
_MIN_WINDOW = 32
# Of the sums of a lane, float32: 256 MiB. They bound the memory that a sweep takes on a device.
_MAX_SUMS = 2**26
# Of a lane, in pixels. Files store square tiles, and a row of those is decoded at a time.
_MAX_LANE = 2**14
# Of a block, in pixels: what an interruption loses, and what is fetched at a time.
_MAX_BLOCK = 2**21
# Of the part of a block that is finished at a time, in pixels: its temporary arrays stay small, and
# sums of float32 over it exact to six digits.
_MAX_FINISHED = 2**16
# Blocks down a lane, unless it has fewer rows of windows: several devices share them.
_MIN_BLOCKS = 16
# Of a group: enough to keep a large accelerator busy.
_MAX_GROUP_PIXELS, _MAX_GROUP = 2**20, 64


@dataclass(frozen=True)
class SlidingWindow:
    """Parameters of a sliding window.

    Attributes:
        window: Side of the window, in pixels.
        stride: Distance between neighbouring positions, in pixels.
        flips: Whether to average over flips of each window along either axis and along both.
    """

    window: int
    stride: int
    flips: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window:
            raise ValueError(
                f"stride: found {self.stride} with a window of {self.window} pixels; "
                f"expected 1 to {self.window}"
            )


@dataclass(frozen=True)
class Block:
    """The unit of work: some rows of windows of a lane, and a rectangle of pixels.

    Attributes:
        index: Position in the plan.
        rows: Indices of the rows of windows that begin in it.
        columns: Indices of the columns of windows that begin in its lane.
        top: Row of the rectangle's upper edge, in pixels.
        left: Column of its left edge, in pixels.
        height: Its height, in pixels.
        width: Its width, in pixels.
        inside: Where the rectangle is in the arrays of `SweepPlan.block_shape`.
    """

    index: int
    rows: range
    columns: range
    top: int
    left: int
    height: int
    width: int
    inside: tuple[slice, slice]


@dataclass(frozen=True)
class SweepPlan:
    """How an image is swept, from its size, the windows and the number of outputs.

    Attributes:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        window: Side of a window, in pixels.
        stride: Distance between neighbouring windows, in pixels, at most `window`.
        outputs: Number of outputs of the network for each pixel.
    """

    height: int
    width: int
    window: int
    stride: int
    outputs: int

    @classmethod
    def for_image(cls, height: int, width: int, sliding: SlidingWindow, outputs: int) -> SweepPlan:
        """Make the plan of an image; one that fits into a window is seen through a single one.

        That window is as large as the image's longer side: the image is seen as it is, and not as
        a mosaic of its reflections.

        Args:
            height: Height of the image, in pixels.
            width: Width of the image, in pixels.
            sliding: The sliding window.
            outputs: Number of outputs of the network for each pixel.
        """
        side = max(height, width, _MIN_WINDOW)
        if side <= sliding.window:
            return cls(height, width, side, side, outputs)
        return cls(height, width, sliding.window, sliding.stride, outputs)

    @property
    def margin(self) -> int:
        """Pixels by which the first window exceeds the image."""
        return (self.window - self.stride) // 2

    @property
    def num_rows(self) -> int:
        """Number of windows from the top to the bottom of the image."""
        return -(-self.height // self.stride)

    @property
    def num_columns(self) -> int:
        """Number of windows from the left to the right of the image."""
        return -(-self.width // self.stride)

    @property
    def overlap(self) -> int:
        """Number of preceding windows that reach into the pixels a window begins with."""
        return -(-self.window // self.stride) - 1

    def start(self, index: int) -> int:
        """Return where a row or column of windows begins, in pixels; it may be negative."""
        return index * self.stride - self.margin

    def extent(self, count: int) -> int:
        """Return how many pixels consecutive windows span."""
        return (count - 1) * self.stride + self.window

    @cached_property
    def lane_columns(self) -> int:
        """Columns of windows that begin in a lane; the last lane may have fewer."""
        height = self.extent(max(1, self.overlap))
        width = min(_MAX_LANE, _MAX_SUMS // (height * (self.outputs + 1)))
        if self.extent(self.num_columns) <= width:
            return self.num_columns
        # At least four times as many as the preceding ones, which are computed for both lanes.
        most = max((width - self.window) // self.stride + 1 - self.overlap, 4 * self.overlap, 1)
        return -(-self.num_columns // -(-self.num_columns // most))

    @property
    def lead(self) -> int:
        """Columns of windows that a lane computes besides those that begin in it."""
        return self.overlap if self.lane_columns < self.num_columns else 0

    @cached_property
    def _segment(self) -> tuple[int, int]:
        """Rows of windows of a segment and windows of a group, of which few are left empty.

        Sizes have few digits in binary, so that images of many sizes share few compiled networks.
        """
        pixels = self.window**2
        most = min(_MAX_GROUP, _MAX_GROUP_PIXELS // pixels, _MAX_SUMS // (pixels * self.outputs))
        most = _round_down(max(1, most))
        columns = min(self.lane_columns + self.lead, self.num_columns)

        def rate(rows: int) -> tuple[tuple[float, int, int], int, int]:
            size = _round_up(-(-rows * columns // -(-rows * columns // most)))
            full, rest = divmod(self.num_rows, rows)
            groups = full * -(-rows * columns // size) + -(-rest * columns // size)
            filled = self.num_rows * columns / (groups * size)
            return (min(filled, 0.9), size, -rows), rows, size

        limit = min(-(-most // columns), self.num_rows)
        return max(rate(rows) for rows in range(1, limit + 1))[1:]

    @property
    def segment_rows(self) -> int:
        """Rows of windows of a segment; the last one of a lane may have fewer."""
        return self._segment[0]

    @property
    def group_size(self) -> int:
        """Windows of a group; the last one of a segment may have fewer."""
        return self._segment[1]

    @cached_property
    def block_rows(self) -> int:
        """Rows of windows that begin in a block: whole segments, which hold the overlap."""
        sums = _MAX_SUMS // (self.sums_width * (self.outputs + 1))
        pixels = _MAX_BLOCK // (self.lane_columns * self.stride**2)
        most = min((sums - self.window) // self.stride + 1, pixels)
        rows = max(1, self.overlap, min(most, -(-self.num_rows // _MIN_BLOCKS)))
        return -(-rows // self.segment_rows) * self.segment_rows

    def cut_into_segments(self, rows: range) -> list[range]:
        """Cut rows of windows into segments; they begin with the first row of a segment."""
        size = self.segment_rows
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    @property
    def strip_segments(self) -> int:
        """Number of segments that begin in the rows of pixels under the windows of one."""
        return -(-self.extent(self.segment_rows) // (self.segment_rows * self.stride))

    @property
    def sums_height(self) -> int:
        """Height of the sums of a lane, in pixels: that of a block, and what its windows span."""
        return max(self.extent(self.block_rows), self.block_shape[0])

    @property
    def sums_width(self) -> int:
        """Width of the sums of a lane, in pixels."""
        return self.extent(self.lead + self.lane_columns)

    @cached_property
    def finish_rows(self) -> int:
        """Rows of pixels of a block that are finished at a time."""
        height, width = self._largest_block
        parts = -(-height // max(1, _MAX_FINISHED // width))
        return -(-height // parts)

    @property
    def block_shape(self) -> tuple[int, int]:
        """Height and width in pixels of the arrays of a block, into which every block fits."""
        height, width = self._largest_block
        return -(-height // self.finish_rows) * self.finish_rows, width

    @cached_property
    def _largest_block(self) -> tuple[int, int]:
        """Height and width in pixels of the smallest arrays into which every block fits."""
        rows, columns = zip(*(block.inside for block in self.blocks), strict=True)
        return max(side.stop for side in rows), max(side.stop for side in columns)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, each lane from the top; every pixel is in one of them."""
        lanes = self._cut_axis(self.num_columns, self.lane_columns, self.width)
        parts = self._cut_axis(self.num_rows, self.block_rows, self.height)
        return tuple(
            Block(index, rows, columns, top, left, height, width, (inside_rows, inside_columns))
            for index, (
                (columns, left, width, inside_columns),
                (rows, top, height, inside_rows),
            ) in enumerate(itertools.product(lanes, parts))
        )

    def _cut_axis(
        self, windows: int, portion: int, size: int
    ) -> list[tuple[range, int, int, slice]]:
        """Cut an axis into portions: windows, first pixel, number of pixels, place in an array."""
        cuts = []
        for first in range(0, windows, portion):
            last = min(first + portion, windows)
            start, stop = max(0, self.start(first)), self.start(last) if last < windows else size
            inside = slice(start - self.start(first), stop - self.start(first))
            cuts.append((range(first, last), start, stop - start, inside))
        return cuts


def compute_weights(window: int) -> np.ndarray:
    """Compute the weights of a window's rows, and of its columns: sin², which is never zero.

    The weight of a pixel is the product of both.

    Args:
        window: Side of the window, in pixels.

    Returns:
        Weights, (window,) float32.
    """
    return (np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2).astype(np.float32)


def deal(items: Sequence[Item], count: int) -> list[Sequence[Item]]:
    """Deal items to devices or processes in consecutive runs, whose lengths differ by at most one.

    Args:
        items: The items.
        count: Number of runs; some are empty if there are fewer items.
    """
    ends = [len(items) * (index + 1) // count for index in range(count)]
    return [items[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _round_up(count: int) -> int:
    """Round up to four binary digits."""
    unit = 1 << max(0, count.bit_length() - 4)
    return -(-count // unit) * unit


def _round_down(count: int) -> int:
    """Round down to four binary digits."""
    unit = 1 << max(0, count.bit_length() - 4)
    return count // unit * unit
