"""The commands that a sweep gives to the devices, made while earlier ones are carried out.

All devices carry out the same commands at the same time, each with its own block; a device for
which there is nothing to do stays inactive. The arrays of commands are of the host at first, and
then sharded over the devices by their first axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ssl_jax.scenes.reading import LaneReader, Task
from ssl_jax.scenes.sweep_plan import SweepPlan

__all__ = [
    "CLEAR",
    "KEEP",
    "MOVE",
    "AddGroup",
    "Command",
    "FinishBlock",
    "MoveStrip",
    "MoveSums",
    "make_commands",
]

KEEP, MOVE, CLEAR = 0, 1, 2


class MoveSums(NamedTuple):
    """Move the sums up by the pixels of a block.

    Attributes:
        moves: What happens to those of each device, (devices,) int8: `KEEP`, `MOVE` or `CLEAR`.
    """

    moves: np.ndarray


class MoveStrip(NamedTuple):
    """Move the strip down.

    Attributes:
        rows: The rows that enter it, (devices, rows, width, bands).
        active: Whether it moves, (devices,) bool.
    """

    rows: np.ndarray
    active: np.ndarray


class AddGroup(NamedTuple):
    """Add the logits of a group of windows to the sums.

    Attributes:
        places: The places of the windows, see `LaneReader.find_groups`, (devices, size, 4).
    """

    places: np.ndarray


class BlockArrays(NamedTuple):
    """What the results of blocks are computed from, besides their sums.

    Attributes:
        computed: See `LaneReader.find_computed_cells`, (devices, rows, columns).
        bounds: First and last row and column of the blocks, see `Block.inside`, (devices, 4) int32.
        pixels: See `LaneReader`, (devices, height, width, ...) each.
    """

    computed: np.ndarray
    bounds: np.ndarray
    pixels: dict[str, np.ndarray]


class FinishBlock(NamedTuple):
    """Compute the results of blocks from their sums.

    Attributes:
        positions: The position of each device's block in the tasks, or None.
        has_result: Whether any window that begins in it is computed, by device.
        inside: Where it is in arrays of `SweepPlan.block_shape`, by device.
        arrays: The arrays of the blocks.
    """

    positions: Sequence[int | None]
    has_result: Sequence[bool]
    inside: Sequence[tuple[slice, slice]]
    arrays: BlockArrays


Command = MoveSums | MoveStrip | AddGroup | FinishBlock


def make_commands(
    plan: SweepPlan, tasks: Sequence[Task], runs: Sequence[Sequence[int]]
) -> Iterator[Command]:
    """Read images, and make the commands for their sweep.

    Args:
        plan: The plan of the images.
        tasks: The blocks.
        runs: The positions of the tasks of each device, in the order in which it does them.
    """
    readers = [LaneReader(plan) for _ in runs]
    for positions in itertools.zip_longest(*runs):
        current = [None if position is None else tasks[position] for position in positions]
        needed = [reader.begin(task) for reader, task in zip(readers, current, strict=True)]
        if any(needed):
            rows = [
                task.block.rows if task is not None and is_needed else range(0)
                for task, is_needed in zip(current, needed, strict=True)
            ]
            yield from _add_windows(plan, readers, rows)
        yield _finish(readers, positions, current)


def _add_windows(
    plan: SweepPlan, readers: Sequence[LaneReader], rows: Sequence[range]
) -> Iterator[Command]:
    """Add all windows that reach into a block of each device, which begin in `rows`."""
    follows = [reader.follows for reader in readers]
    yield MoveSums(np.where(follows, MOVE, CLEAR).astype(np.int8))
    above = [
        reader.find_rows_above() if r and not reader.follows else range(0)
        for reader, r in zip(readers, rows, strict=True)
    ]
    if any(above):
        # They are added at the bottom of the sums, as those of the block above were.
        yield from _add_rows(plan, readers, above, [r.start - plan.block_rows for r in rows])
        yield MoveSums(np.array([MOVE if r else KEEP for r in above], np.int8))
    yield from _add_rows(plan, readers, rows, [r.start for r in rows])


def _add_rows(
    plan: SweepPlan,
    readers: Sequence[LaneReader],
    rows: Sequence[range],
    first_rows: Sequence[int],
) -> Iterator[Command]:
    """Add rows of windows for each device, whose sums begin with the windows of `first_rows`."""
    segments = map(plan.cut_into_segments, rows)
    for parts in itertools.zip_longest(*segments, fillvalue=range(0)):
        active = list(zip(readers, parts, strict=True))
        for entering in itertools.zip_longest(*(r.read_strip(part) for r, part in active)):
            yield MoveStrip(_stack(entering), np.array([e is not None for e in entering]))
        groups = [
            reader.find_groups(part, first)
            for (reader, part), first in zip(active, first_rows, strict=True)
        ]
        for group in itertools.zip_longest(*groups):
            yield AddGroup(_stack(group))


def _finish(
    readers: Sequence[LaneReader],
    positions: Sequence[int | None],
    tasks: Sequence[Task | None],
) -> FinishBlock:
    """Make the command that finishes the block of each device."""
    computed = [reader.find_computed_cells() for reader in readers]
    inside = [(slice(0, 0), slice(0, 0)) if task is None else task.block.inside for task in tasks]
    bounds = [[rows.start, rows.stop, columns.start, columns.stop] for rows, columns in inside]
    names = sorted({name for reader in readers for name in reader.pixels})
    pixels = {name: _stack([reader.pixels.get(name) for reader in readers]) for name in names}
    return FinishBlock(
        positions,
        [bool(cells.any()) for cells in computed],
        inside,
        BlockArrays(np.stack(computed), np.array(bounds, np.int32), pixels),
    )


def _stack(arrays: Sequence[np.ndarray | None]) -> np.ndarray:
    """Stack the arrays of the devices; those of inactive ones are zero."""
    if len(arrays) == 1 and arrays[0] is not None:
        return arrays[0][None]
    like = next(array for array in arrays if array is not None)
    return np.stack([np.zeros_like(like) if array is None else array for array in arrays])
