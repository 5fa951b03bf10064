"""Confidence intervals of scores under resampling of the test examples (percentile bootstrap).

Test examples are drawn with replacement and the score is computed on them, 10,000 times. The
interval contains the middle 95 % of these scores (Efron & Tibshirani 1993, chapter 13). A drawn
example is drawn for all runs that were tested on it. Hence the seeds of a table entry are averaged
within each draw, and the difference between two entries is *paired*: the effect of examples that
are difficult for both cancels.

The trained networks are fixed. Training is another source of variance, and three seeds are too few
to resample: a bootstrap of three means is confined to their range, which covers the true mean three
times in four. `student_t_margin` quantifies the uncertainty over seeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from ssl_jax.metrics.confusion import per_class_iou
from ssl_jax.metrics.ratios import ratio

__all__ = [
    "ExampleCounts",
    "Interval",
    "bootstrap_difference",
    "bootstrap_mean",
    "count_by_example",
    "student_t_margin",
]

_NUM_RESAMPLES = 10_000
_CONFIDENCE = 0.95
_MAX_CHUNK_ELEMENTS = 2**22  # elements of the drawn counts that are in memory at a time

Score = Callable[[np.ndarray], np.ndarray]  # sums of counts (..., *shape) -> scores (...)


class Interval(NamedTuple):
    """A closed interval of a score.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ExampleCounts:
    """Counts of each test example, whose sums over examples determine the score.

    Attributes:
        index: Index of each example in the dataset, (N,) integer.
        counts: Counts of each example, (N, *shape) integer.
        score: Function from sums of counts (..., *shape) to scores (...) in 0..1.
    """

    index: np.ndarray
    counts: np.ndarray
    score: Score


def count_by_example(predictions: Mapping[str, np.ndarray], metric: str) -> ExampleCounts | None:
    """Compute the counts of each example that determine a metric.

    Args:
        predictions: Arrays of a run's `predictions.npz`.
        metric: Name of the metric.

    Returns:
        The counts, or None if the metric is not a function of sums over examples, such as average
        precision.
    """
    if metric == "top1" and "predicted" in predictions:
        correct = predictions["predicted"] == predictions["label"]
        counts = np.stack([correct, np.ones_like(correct)], axis=1).astype(np.int64)
        return ExampleCounts(predictions["index"], counts, _accuracy)
    if metric == "OA" and "confusion" in predictions:
        confusion = predictions["confusion"]
        correct = np.trace(confusion, axis1=1, axis2=2)
        counts = np.stack([correct, confusion.sum(axis=(1, 2))], axis=1)
        return ExampleCounts(predictions["index"], counts, _accuracy)
    if metric == "mIoU" and "confusion" in predictions:
        return ExampleCounts(predictions["index"], predictions["confusion"], _mean_iou)
    return None


def bootstrap_mean(
    runs: Sequence[ExampleCounts], resamples: int = _NUM_RESAMPLES, seed: int = 0
) -> Interval:
    """Compute the interval of the mean score of several runs.

    Args:
        runs: Counts of each run, all of the same dataset and metric.
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """
    scores = _resample_scores(runs, resamples, np.random.default_rng(seed))
    return _percentile_interval(scores.mean(axis=1))


def bootstrap_difference(
    first: Sequence[ExampleCounts],
    second: Sequence[ExampleCounts],
    paired: bool,
    resamples: int = _NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Compute the interval of the difference of two mean scores, first minus second.

    Args:
        first: Counts of the first runs, all of the same dataset and metric.
        second: Counts of the second runs.
        paired: Whether both were tested on the same examples, which are then drawn for both
            together.
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    if paired:
        scores = _resample_scores([*first, *second], resamples, rng)
        first_scores, second_scores = scores[:, : len(first)], scores[:, len(first) :]
    else:
        first_scores, second_scores = (
            _resample_scores(runs, resamples, rng) for runs in (first, second)
        )
    return _percentile_interval(first_scores.mean(axis=1) - second_scores.mean(axis=1))


def student_t_margin(std: float, seeds: int) -> float:
    """Return half the width of the 95 % interval of a mean over seeds (Student's t).

    Args:
        std: Standard deviation over seeds, with n - 1 in the denominator.
        seeds: Number of seeds n, at least 2.
    """
    return float(stdtrit(seeds - 1, (1 + _CONFIDENCE) / 2)) * std / seeds**0.5


def _resample_scores(
    runs: Sequence[ExampleCounts], resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the scores (resamples, runs) on resampled test examples."""
    examples = np.unique(np.concatenate([run.index for run in runs]))
    shape = (len(runs), *runs[0].counts.shape[1:])
    table = np.zeros((len(examples), *shape), np.int64)
    for column, run in enumerate(runs):
        table[np.searchsorted(examples, run.index), column] = run.counts
    # Examples with equal counts in all runs are interchangeable. It suffices to draw how many
    # examples there are of each distinct row, and correct and wrong answers have few distinct rows.
    rows, sizes = np.unique(table.reshape(len(examples), -1), axis=0, return_counts=True)
    fractions = sizes / len(examples)
    chunk_size = max(1, _MAX_CHUNK_ELEMENTS // len(rows))
    scores = []
    for start in range(0, resamples, chunk_size):
        count = min(chunk_size, resamples - start)
        drawn = rng.multinomial(len(examples), fractions, size=count)
        sums = drawn.astype(float) @ rows.astype(float)  # exact up to 2^53
        scores.append(runs[0].score(sums.reshape(count, *shape)))
    return np.concatenate(scores)


def _percentile_interval(values: np.ndarray) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _accuracy(counts: np.ndarray) -> np.ndarray:
    """Compute the accuracy (...) from counts (..., 2) of correct and of all answers."""
    return ratio(counts[..., 0], counts[..., 1])


def _mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Compute `ssl_jax.metrics.mean_iou` (...) of confusion matrices (..., K, K)."""
    iou = per_class_iou(confusion)
    return ratio(np.nansum(iou, axis=-1), (~np.isnan(iou)).sum(axis=-1))
