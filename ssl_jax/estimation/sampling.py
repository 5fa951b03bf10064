"""Stratified random samples of a map: how many places in each stratum, and which.

Places are drawn with a probability that goes by the area of pixels, so that the mean of a stratum's
units estimates a share of its area in any coordinate reference system.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.estimation.classified import NO_CLASS, ClassMap, iterate_rows
from ssl_jax.estimation.regions import Regions

__all__ = ["Allocation", "Places", "StrataTable", "allocate", "draw_places"]

Allocation = Literal["proportional", "neyman", "equal"]

# A stratum of up to this many pixels for each place is drawn from at once, all pixels known.
_SMALL = 4
_ID_DIGITS = 6


class StrataTable(NamedTuple):
    """The strata of a map: its classes, in each region if there are any.

    Attributes:
        values: (strata,) class values.
        regions: (strata,) regions; 0 if there are none, otherwise 1 more than the index.
        pixels: (strata,) numbers of pixels.
        areas: (strata,) areas.
    """

    values: np.ndarray
    regions: np.ndarray
    pixels: np.ndarray
    areas: np.ndarray


class Places(NamedTuple):
    """Drawn places, in an order that tells nothing.

    Attributes:
        ids: (n,) random names, sorted.
        strata: (n,) indices of strata.
        rows: (n,) rows.
        columns: (n,) columns.
    """

    ids: tuple[str, ...]
    strata: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def allocate(
    strata: StrataTable,
    samples: int,
    allocation: Allocation,
    minimum: int,
    accuracies: Mapping[int, float],
) -> np.ndarray:
    """Distribute places over strata.

    Args:
        strata: The strata.
        samples: Number of places.
        allocation: `proportional` to area, `neyman` for area × standard deviation, or `equal`.
        minimum: Smallest number in a stratum; one that has fewer pixels gets them all.
        accuracies: For `neyman`, expected user's accuracies by class value.

    Returns:
        (strata,) numbers, which add up to `samples` unless the strata have fewer pixels.

    Raises:
        UserError: If there are too few places for the minimum, or an accuracy isn't told.
    """
    least = np.minimum(minimum, strata.pixels)
    if least.sum() > samples:
        raise UserError(
            f"--samples {samples}: {len(strata.values)} strata of at least {minimum} each need "
            f"{least.sum()}; expected more samples, or fewer by --minimum (at least 2)"
        )
    if allocation == "neyman":
        missing = [value for value in strata.values.tolist() if value not in accuracies]
        if missing:
            raise UserError(
                f"--accuracies: tells none of class {missing[0]}; expected the user's accuracy of "
                "each class of the map, such as water=0.95,forest=0.8"
            )
        accuracy = np.array([accuracies[value] for value in strata.values.tolist()])
        wanted = strata.areas * np.sqrt(accuracy * (1 - accuracy))
    else:
        wanted = strata.areas if allocation == "proportional" else np.ones(len(strata.areas))
    if not wanted.sum():
        wanted = strata.areas
    sizes = least.astype(np.float64)
    # Strata that the proportional number is too small or too large for keep their limit.
    is_free = np.ones(len(sizes), bool)
    for _ in range(len(sizes) + 1):
        rest = samples - sizes[~is_free].sum()
        share = rest * wanted / max(wanted[is_free].sum(), 1e-300)
        limited = np.clip(share, least, strata.pixels)
        sizes[is_free] = limited[is_free]
        excess = sizes.sum() - samples
        bound = is_free & ((share <= least) if excess > 0 else (share >= strata.pixels))
        if abs(excess) < 1e-9 or not bound.any():
            break
        is_free &= ~bound
    return _round(sizes, min(samples, int(strata.pixels.sum())), least, strata.pixels)


def _round(sizes: np.ndarray, total: int, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Round numbers so that they add up to a total, those of the largest remainder up."""
    whole = np.clip(np.floor(sizes + 1e-9).astype(np.int64), least, most)
    while (missing := total - whole.sum()) != 0:
        can = whole < most if missing > 0 else whole > least
        gain = np.where(can, (sizes - whole) * np.sign(missing), -np.inf)
        whole[np.argmax(gain)] += np.sign(missing)
    return whole


def draw_places(
    class_map: ClassMap, regions: Regions, strata: StrataTable, sizes: np.ndarray, seed: int
) -> Places:
    """Draw different pixels of each stratum, with probabilities that go by area.

    The map is read once, some rows at a time: positions between 0 and the area of the stratum are
    drawn first, and found where the sum of the areas of its pixels passes them.

    Args:
        class_map: The map.
        regions: Its regions; none to sample all of it.
        strata: Its strata.
        sizes: (strata,) numbers of places.
        seed: Seed; the same places are drawn for the same map and numbers.
    """
    rng = np.random.default_rng(seed)
    is_small = strata.pixels <= _SMALL * sizes
    positions = [
        np.zeros(0) if small or not size else rng.random(size + size // 2 + 30) * area
        for size, area, small in zip(sizes, strata.areas, is_small, strict=True)
    ]
    candidates = _find_candidates(class_map, regions, strata, positions, is_small & (sizes > 0))
    chosen = []
    for index, (size, (pixels, areas)) in enumerate(zip(sizes, candidates, strict=True)):
        if is_small[index] and size:
            order = rng.choice(len(pixels), size, replace=False, p=areas / areas.sum())
        else:
            _, first = np.unique(pixels, return_index=True)
            order = np.sort(first)[:size]
        chosen.append(np.stack([np.full(size, index), pixels[order]], 1))
    drawn = np.concatenate(chosen)
    drawn = drawn[rng.permutation(len(drawn))]
    numbers = np.sort(rng.choice(10**_ID_DIGITS, len(drawn), replace=False))
    ids = tuple(f"{number:0{_ID_DIGITS}d}" for number in numbers)
    rows, columns = np.divmod(drawn[:, 1], class_map.size[1])
    return Places(ids, drawn[:, 0], rows, columns)


def _find_candidates(
    class_map: ClassMap,
    regions: Regions,
    strata: StrataTable,
    positions: list[np.ndarray],
    takes_all: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Find the pixels at positions in each stratum, or all, with the areas of these."""
    count = len(strata.values)
    order = [np.argsort(values) for values in positions]
    ranked = [values[ranks] for values, ranks in zip(positions, order, strict=True)]
    found = [np.zeros(len(values), np.int64) for values in positions]
    every: list[list[np.ndarray]] = [[] for _ in range(count)]
    passed, next_rank = np.zeros(count), np.zeros(count, int)
    codes = _StratumCodes(strata)
    for rows in iterate_rows(class_map):
        numbers = regions.number_rows(rows.top, rows.classes.shape)
        offset = rows.top * class_map.size[1]
        code = codes.find(np.where(rows.is_valid, rows.classes, NO_CLASS), numbers).ravel()
        sorted_pixels = np.argsort(code, kind="stable")
        ends = np.cumsum(np.bincount(code + 1, minlength=count + 1))
        for index in range(count):
            pixels = sorted_pixels[ends[index] : ends[index + 1]]
            if not len(pixels):
                continue
            areas = rows.areas.ravel()[pixels]
            if takes_all[index]:
                every[index].append(np.stack([pixels + offset, areas]))
                continue
            before = passed[index]
            passed[index] += areas.sum()
            start = next_rank[index]
            end = int(np.searchsorted(ranked[index], passed[index], side="left"))
            if end > start:
                steps = np.searchsorted(before + np.cumsum(areas), ranked[index][start:end])
                found[index][order[index][start:end]] = (
                    pixels[np.minimum(steps, len(pixels) - 1)] + offset
                )
                next_rank[index] = end
            last = pixels[-1] + offset
            found[index][order[index][next_rank[index] :]] = last  # of sums that rounding cut short
    return [
        (stack[0].astype(np.int64), stack[1])
        if takes_all[index] and len(stack := np.concatenate(every[index], axis=1))
        else (found[index], np.zeros(0))
        for index in range(count)
    ]


class _StratumCodes:
    """The index of the stratum of a class and a region; -1 where there is none."""

    def __init__(self, strata: StrataTable):
        self._values, inverse = np.unique(strata.values, return_inverse=True)
        self._table = np.full((len(self._values) + 1, int(strata.regions.max()) + 2), -1, np.int16)
        self._table[inverse, strata.regions] = np.arange(len(inverse))

    def find(self, values: np.ndarray, regions: np.ndarray) -> np.ndarray:
        row = np.searchsorted(self._values, values)
        is_known = self._values[np.minimum(row, len(self._values) - 1)] == values
        row = np.where(is_known, row, len(self._values))
        return self._table[row, np.minimum(regions, self._table.shape[1] - 1)]
