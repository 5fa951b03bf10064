"""Mean scores of table cells and their differences over seeds, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssl_jax.metrics import intervals
from ssl_jax.metrics.intervals import ExampleCounts, Interval
from ssl_jax.reporting.study_results import StudyResults
from ssl_jax.studies.plan import Cell, Contrast, Table

__all__ = [
    "ONE_SEED_MARGIN",
    "Estimate",
    "estimate_cell",
    "estimate_contrast",
    "estimate_difference",
    "format_signed",
]

ONE_SEED_MARGIN = 2.0  # points; the margin of a difference of single seeds


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in percent, or a mean difference over seeds, in points.

    Attributes:
        mean: The mean.
        std: Standard deviation over seeds, with n - 1 in the denominator; NaN for one seed.
        seeds: Number of seeds.
        interval: 95 % bootstrap interval of the mean over the test examples; None if it can't be
            computed from what the runs recorded.
    """

    mean: float
    std: float
    seeds: int
    interval: Interval | None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if math.isnan(self.std) else f" ± {self.std:.1f}")

    @property
    def margin(self) -> float:
        """The distance from zero within which a difference may be due to chance.

        It is the larger of the margin over the test examples and the margin over the seeds.
        """
        seed_margin = (
            intervals.student_t_margin(self.std, self.seeds) if self.seeds > 1 else ONE_SEED_MARGIN
        )
        if self.interval is None:
            return seed_margin
        low, high = self.interval
        return max(seed_margin, self.mean - low if self.mean > 0 else high - self.mean)

    @property
    def is_clear(self) -> bool:
        """Whether a difference is larger than its margin."""
        return abs(self.mean) > self.margin


def estimate_cell(results: StudyResults, cell: Cell) -> Estimate | None:
    """Estimate the mean score of a cell over its runs that are done.

    Args:
        results: The results of the study.
        cell: A cell of one of its tables.

    Returns:
        The estimate in percent, or None if no run is done.
    """
    names = [name for name in cell.runs if name in results.by_run]
    scores = [results.by_run[name]["metrics"][cell.metric] for name in names]
    counts = _load_example_counts(results, names, cell)
    return _make_estimate(scores, intervals.bootstrap_mean(counts) if counts else None)


def estimate_difference(results: StudyResults, cell: Cell, against: Cell) -> Estimate | None:
    """Estimate the mean difference of two cells over the seeds for which both are done.

    Args:
        results: The results of the study.
        cell: The first cell.
        against: The second cell, which is subtracted; its runs have the same seeds.

    Returns:
        The estimate in points, or None if there is no such seed.
    """
    pairs = [
        (name, other)
        for name, other in zip(cell.runs, against.runs, strict=True)
        if name in results.by_run and other in results.by_run
    ]
    names, others = [name for name, _ in pairs], [other for _, other in pairs]
    differences = [
        results.by_run[name]["metrics"][cell.metric]
        - results.by_run[other]["metrics"][against.metric]
        for name, other in pairs
    ]
    counts = _load_example_counts(results, names, cell)
    other_counts = _load_example_counts(results, others, against)
    interval = None
    if counts and other_counts:
        paired = all(
            results.get_test_digest(name) == results.get_test_digest(other) != ""
            for name, other in pairs
        )
        interval = intervals.bootstrap_difference(counts, other_counts, paired)
    return _make_estimate(differences, interval)


def _load_example_counts(
    results: StudyResults, names: Sequence[str], cell: Cell
) -> list[ExampleCounts]:
    """Load the counts by example of each run; return an empty list if any has none."""
    counts = [results.load_example_counts(name, cell.metric) for name in names]
    available = [run_counts for run_counts in counts if run_counts is not None]
    return available if len(available) == len(names) else []


def _make_estimate(fractions: Sequence[float], interval: Interval | None) -> Estimate | None:
    if not fractions:
        return None
    std = 100 * float(np.std(fractions, ddof=1)) if len(fractions) > 1 else math.nan
    percent = interval and Interval(100 * interval.low, 100 * interval.high)
    return Estimate(100 * float(np.mean(fractions)), std, len(fractions), percent)


def estimate_contrast(
    results: StudyResults, table: Table, contrast: Contrast
) -> list[Estimate | None]:
    """Estimate the differences of a contrast, in points.

    Args:
        results: The results of the study.
        table: A table of the study.
        contrast: A contrast of the table.

    Returns:
        The estimate in each column of the table, or None where there are no results.
    """
    cells = zip(
        table.find_row(contrast.row).cells, table.find_row(contrast.against).cells, strict=True
    )
    return [estimate_difference(results, cell, against) for cell, against in cells]


def format_signed(estimate: Estimate) -> str:
    """Format a difference with its sign."""
    return ("+" if estimate.mean >= 0 else "−") + str(estimate).lstrip("-")
