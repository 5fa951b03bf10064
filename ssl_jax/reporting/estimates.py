"""What a study's cells and contrasts come to: means over seeds, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssl_jax.metrics import intervals
from ssl_jax.metrics.intervals import ExampleCounts, Interval
from ssl_jax.reporting.study_results import StudyResults
from ssl_jax.studies.plan import Cell, Contrast, Table

__all__ = [
    "ONE_SEED",
    "Estimate",
    "estimate_cell",
    "estimate_contrast",
    "estimate_difference",
    "format_signed",
]

# Points that a single seed may be off by; what the table's note says in words.
ONE_SEED = 2.0


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in percent or in points.

    Attributes:
        mean: the mean.
        std: the standard deviation over the seeds (n - 1 in the denominator); NaN for one seed.
        seeds: how many there are.
        interval: where the mean would lie with other test examples; None where nobody knows.
    """

    mean: float
    std: float
    seeds: int
    interval: Interval | None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if math.isnan(self.std) else f" ± {self.std:.1f}")

    @property
    def chance(self) -> float:
        """The distance from zero below which the mean, if of differences, may be chance.

        It is the larger of what the test examples and what the seeds leave open.
        """
        seeds = intervals.student_t_margin(self.std, self.seeds) if self.seeds > 1 else ONE_SEED
        if self.interval is None:
            return seeds
        low, high = self.interval
        return max(seeds, self.mean - low if self.mean > 0 else high - self.mean)

    @property
    def clear(self) -> bool:
        """Whether a difference is more than chance."""
        return abs(self.mean) > self.chance


def estimate_cell(records: StudyResults, cell: Cell) -> Estimate | None:
    """A cell's figure in percent, over those of its runs that are done; None if none is."""
    done = [name for name in cell.runs if name in records.results]
    values = [records.results[name]["metrics"][cell.metric] for name in done]
    runs = _outcomes(records, done, cell)
    return _summary(values, intervals.bootstrap_mean(runs) if runs else None)


def estimate_difference(records: StudyResults, cell: Cell, against: Cell) -> Estimate | None:
    """`cell` less `against` in points, seed by seed where both are done."""
    pairs = [
        (first, second)
        for first, second in zip(cell.runs, against.runs, strict=True)
        if first in records.results and second in records.results
    ]
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    ours, theirs = (
        [records.results[name]["metrics"][which.metric] for name in names]
        for names, which in ((first, cell), (second, against))
    )
    runs, others = _outcomes(records, first, cell), _outcomes(records, second, against)
    paired = all(records.tested_on(one) == records.tested_on(other) != "" for one, other in pairs)
    interval = intervals.bootstrap_difference(runs, others, paired) if runs and others else None
    return _summary([a - b for a, b in zip(ours, theirs, strict=True)], interval)


def _outcomes(records: StudyResults, names: Sequence[str], cell: Cell) -> list[ExampleCounts]:
    """What is behind the cell's figures, run by run; empty unless it is known of all."""
    found = [records.outcomes(name, cell.metric) for name in names]
    known = [outcomes for outcomes in found if outcomes is not None]
    return known if len(known) == len(names) else []


def _summary(fractions: Sequence[float], interval: Interval | None) -> Estimate | None:
    if not fractions:
        return None
    std = 100 * float(np.std(fractions, ddof=1)) if len(fractions) > 1 else math.nan
    percent = interval and Interval(100 * interval.low, 100 * interval.high)
    return Estimate(100 * float(np.mean(fractions)), std, len(fractions), percent)


def estimate_contrast(
    records: StudyResults, table: Table, contrast: Contrast
) -> list[Estimate | None]:
    """The answer to a contrast in each column of a table, in points."""
    cells = zip(table.row(contrast.row).cells, table.row(contrast.against).cells, strict=True)
    return [estimate_difference(records, cell, against) for cell, against in cells]


def format_signed(value: Estimate) -> str:
    """A difference with its sign."""
    return ("+" if value.mean >= 0 else "−") + str(value).lstrip("-")
