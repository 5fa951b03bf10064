"""What a sweep reads of images: strips of pixels, and which windows of them are computed.

A strip is the pixels under the windows of a segment, across a lane. It stays on the device; from
one segment to the next it moves down by the rows that are read. So no pixel of a lane is read or
copied twice, however much the windows overlap.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ssl_jax.scenes.large_image import LargeImage, read_reflected
from ssl_jax.scenes.sweep_plan import Block, SweepPlan

__all__ = ["LaneReader", "Task"]


class Task(NamedTuple):
    """A block of an image, the unit of work of a sweep.

    Attributes:
        image: The image.
        block: The block, of the plan for images of this size.
    """

    image: LargeImage
    block: Block


class LaneReader:
    """Reads the blocks that a device is given, one after the other.

    Attributes:
        follows: Whether the block is the one below the previous one.
        pixels: The arrays of the block besides `image`, each (*SweepPlan.block_shape, ...); zero
            where nothing is read.
    """

    def __init__(self, plan: SweepPlan) -> None:
        """Set up the reading of images of a plan."""
        self.follows = False
        self.pixels: dict[str, np.ndarray] = {}
        self._plan = plan
        self._task: Task | None = None
        self._computed = np.zeros((plan.block_rows, plan.lane_columns), bool)
        self._needed_by_row: dict[int, np.ndarray] = {}
        self._next_segment = -1  # to which the strip moves by the rows of one segment
        self._strip: deque[dict[str, np.ndarray]] = deque(maxlen=plan.strip_segments)
        self._blank: dict[str, np.ndarray] = {}  # no rows of each array

    def begin(self, task: Task | None) -> bool:
        """Turn to a block, and return whether any of its windows is needed.

        If none is, the block isn't read, and the next one doesn't follow.
        """
        previous, self._task = self._task, task
        self._computed = np.zeros_like(self._computed)
        self.pixels = {}
        if task is None:
            return False
        self.follows = (
            previous is not None
            and previous.image is task.image
            and previous.block.columns == task.block.columns
            and previous.block.index + 1 == task.block.index
        )
        first = task.block.rows.start - self._plan.block_rows if self.follows else math.inf
        self._needed_by_row = {r: n for r, n in self._needed_by_row.items() if r >= first}
        if not self.follows:
            self._next_segment = -1
        if not self._is_any_needed(task.block.rows):
            self._task = None
        return self._task is not None

    def find_rows_above(self) -> range:
        """Return the rows of windows above the block that reach into it, in whole segments."""
        assert self._task is not None
        plan, first = self._plan, self._task.block.rows.start
        count = -(-plan.overlap // plan.segment_rows) * plan.segment_rows
        rows = range(max(0, first - count), first)
        return rows if self._is_any_needed(rows) else range(0)

    def read_strip(self, segment: range) -> Iterator[np.ndarray]:
        """Move the strip down to a segment.

        Args:
            segment: Rows of windows, of the block or above it; none for no segment.

        Yields:
            The rows that enter the strip, (rows, width, bands), each time that it moves by them.
        """
        if not segment:
            return
        assert self._task is not None
        count = self._plan.strip_segments
        index = segment.start // self._plan.segment_rows
        follows = self._next_segment == index
        self._next_segment = index + 1
        for entering in range(index + count - 1 if follows else index, index + count):
            self._strip.append(self._read_rows(entering))
            if "image" in self._strip[-1]:
                yield self._strip[-1]["image"]
        if segment.start in self._task.block.rows:
            self._collect_pixels(segment)

    def find_groups(self, segment: range, first_row: int) -> Iterator[np.ndarray]:
        """Find the windows to compute of the segment that the strip has been moved to.

        Args:
            segment: Rows of windows; none for no segment.
            first_row: The row of windows that the sums begin with.

        Yields:
            The windows of each group, (group_size, 4) int32, row by row from the left: the row of
            pixels in the strip and in the sums and the column in both with which a window begins,
            and 1; or zeros, if the group has fewer windows.
        """
        if not segment:
            return
        assert self._task is not None
        plan, block = self._plan, self._task.block
        data = self._join_strip("has_data") if "has_data" in self._blank else None
        places = []
        for row in segment:
            top = (row - segment.start) * plan.stride
            for column in np.flatnonzero(self._find_needed(row)):
                left = column * plan.stride
                window = np.s_[top : top + plan.window, left : left + plan.window]
                if data is not None and not data[window].any():
                    continue
                places.append((top, (row - first_row) * plan.stride, left, 1))
                if row in block.rows and column >= plan.lead:
                    self._computed[row - block.rows.start, column - plan.lead] = True
        for start in range(0, len(places), plan.group_size):
            windows = places[start : start + plan.group_size]
            group = np.zeros((plan.group_size, 4), np.int32)
            group[: len(windows)] = windows
            yield group

    def find_computed_cells(self) -> np.ndarray:
        """Return which cells of the block are computed, (rows, columns) bool.

        The cell of a window are the `stride` × `stride` pixels with which it begins; to the last
        window of a row or column belong those after them, too.
        """
        shape = [-(-size // self._plan.stride) for size in self._plan.block_shape]
        cells = np.zeros(shape, bool)
        if self._task is not None:
            block = self._task.block
            computed = self._computed[: len(block.rows), : len(block.columns)]
            padding = [(0, max(0, n - m)) for n, m in zip(shape, computed.shape, strict=True)]
            cells[:] = np.pad(computed, padding, mode="edge")[: shape[0], : shape[1]]
        return cells

    def _collect_pixels(self, segment: range) -> None:
        """Add to `pixels` those that the windows of a segment begin with."""
        assert self._task is not None
        top = (segment.start - self._task.block.rows.start) * self._plan.stride
        left = self._plan.lead * self._plan.stride
        height, width = self._plan.block_shape
        size = self._plan.segment_rows * self._plan.stride
        # Rows beyond the segment are pixels of the block, too, if it is the last one of a lane.
        is_last = segment.stop == self._task.block.rows.stop
        for number, rows in enumerate(self._strip if is_last else [self._strip[0]]):
            for name, part in rows.items():
                if name == "image":
                    continue
                array = self.pixels.get(name)
                if array is None:
                    array = np.zeros((height, width, *part.shape[2:]), part.dtype)
                    self.pixels[name] = array
                target = array[top + number * size :][: len(part)]
                target[:] = part[: len(target), left : left + width]

    def _read_rows(self, index: int) -> dict[str, np.ndarray]:
        """Read the rows of pixels from the start of a segment to that of the next one.

        Of those only the columns are read that lie under a needed window of any segment.
        """
        assert self._task is not None
        plan, (image, block) = self._plan, self._task
        size = plan.segment_rows
        windows = range(
            max(0, (index - plan.strip_segments + 1) * size), min((index + 1) * size, plan.num_rows)
        )
        top, height = plan.start(index * size), size * plan.stride
        read_height = min(height, plan.start(plan.num_rows - 1) + plan.window - top)
        origin = plan.start(block.columns.start - plan.lead)
        spans = self._find_spans(windows) if read_height > 0 else []
        parts = [
            read_reflected(image, top, origin + start, read_height, stop - start)
            for start, stop in spans
        ]
        if parts and not self._blank:
            self._blank = {name: array[:0] for name, array in parts[0].items()}
        if spans == [(0, plan.sums_width)] and read_height == height:
            return parts[0]
        arrays = {
            name: np.zeros((height, plan.sums_width, *blank.shape[2:]), blank.dtype)
            for name, blank in self._blank.items()
        }
        for (start, stop), part in zip(spans, parts, strict=True):
            for name, array in arrays.items():
                array[:read_height, start:stop] = part[name]
        return arrays

    def _join_strip(self, name: str) -> np.ndarray:
        """Return an array of the strip, (rows, width, ...)."""
        shape = (self._plan.segment_rows * self._plan.stride, self._plan.sums_width)
        blank = self._blank[name]
        return np.concatenate(
            [
                rows[name] if name in rows else np.zeros((*shape, *blank.shape[2:]), blank.dtype)
                for rows in self._strip
            ]
        )

    def _find_spans(self, rows: range) -> list[tuple[int, int]]:
        """Return the columns of pixels of a lane under the needed windows of some rows."""
        plan = self._plan
        spans: list[tuple[int, int]] = []
        needed = np.any([self._find_needed(row) for row in rows], axis=0)
        for column in np.flatnonzero(needed):
            start = int(column) * plan.stride
            if spans and start <= spans[-1][1]:
                start = spans.pop()[0]
            spans.append((start, int(column) * plan.stride + plan.window))
        return spans

    def _is_any_needed(self, rows: range) -> bool:
        return any(self._find_needed(row).any() for row in rows)

    def _find_needed(self, row: int) -> np.ndarray:
        """Return which windows of a row the image needs, of those that a lane computes, bool."""
        assert self._task is not None
        if row not in self._needed_by_row:
            image, block = self._task
            first = block.columns.start - self._plan.lead
            needed = np.zeros(self._plan.lead + self._plan.lane_columns, bool)
            for column in range(max(0, first), block.columns.stop):
                needed[column - first] = self._is_needed(image, row, column)
            self._needed_by_row[row] = needed
        return self._needed_by_row[row]

    def _is_needed(self, image: LargeImage, row: int, column: int) -> bool:
        """Ask an image for a window; only what lies inside of it is asked for."""
        plan = self._plan
        top, left = plan.start(row), plan.start(column)
        bottom, right = min(top + plan.window, plan.height), min(left + plan.window, plan.width)
        top, left = max(0, top), max(0, left)
        return image.is_needed(top, left, bottom - top, right - left)
