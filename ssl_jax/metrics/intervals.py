"""How far a figure would move with other test examples: the percentile bootstrap.

Test examples are drawn anew with replacement and the figure is taken again, 10,000 times; the
middle 95 % of what comes out is the interval (Efron & Tibshirani 1993, chapter 13). An example that
several runs were tested on is drawn for all of them at once. So the seeds of a cell are averaged
within each draw, and the difference of two rows is *paired*: what is hard for both cancels.

The trained networks stay as they are. Another training is another source of chance, and three seeds
are too few to be drawn from: a bootstrap of three means can't leave the range they span, which
covers the truth three times in four. `student_t_margin` tells how far those means can be trusted.
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

RESAMPLES = 10_000
LEVEL = 0.95

_NUMBERS_AT_ONCE = 2**22

Score = Callable[[np.ndarray], np.ndarray]  # sums of counts (..., *shape) -> figures (...)


class Interval(NamedTuple):
    """Where a figure lies, ends included."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ExampleCounts:
    """What came out on each test example, as counts whose sums over examples give the figure.

    Attributes:
        index: (N,) int, which example of the dataset each is.
        counts: (N, *shape) int.
        score: from sums of counts to the figure, a fraction.
    """

    index: np.ndarray
    counts: np.ndarray
    score: Score


def count_by_example(predictions: Mapping[str, np.ndarray], metric: str) -> ExampleCounts | None:
    """The outcomes behind a metric of a run's `predictions.npz`.

    None for a metric that is no function of sums over examples, as average precision isn't.
    """
    if metric == "top1" and "predicted" in predictions:
        right = predictions["predicted"] == predictions["label"]
        counts = np.stack([right, np.ones_like(right)], axis=1).astype(np.int64)
        return ExampleCounts(predictions["index"], counts, _share)
    if metric == "OA" and "confusion" in predictions:
        confusion = predictions["confusion"]
        hits = np.trace(confusion, axis1=1, axis2=2)
        counts = np.stack([hits, confusion.sum(axis=(1, 2))], axis=1)
        return ExampleCounts(predictions["index"], counts, _share)
    if metric == "mIoU" and "confusion" in predictions:
        return ExampleCounts(predictions["index"], predictions["confusion"], _mean_iou)
    return None


def bootstrap_mean(
    runs: Sequence[ExampleCounts], resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The interval of the mean of the runs' figures; all of one dataset and one metric."""
    figures = _resampled(runs, resamples, np.random.default_rng(seed))
    return _middle(figures.mean(axis=1))


def bootstrap_difference(
    first: Sequence[ExampleCounts],
    second: Sequence[ExampleCounts],
    paired: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The interval of the mean of the first runs' figures less that of the second runs'.

    With `paired` both were tested on the same examples, which are then drawn for both at once.
    """
    rng = np.random.default_rng(seed)
    if paired:
        figures = _resampled([*first, *second], resamples, rng)
        ours, theirs = figures[:, : len(first)], figures[:, len(first) :]
    else:
        ours, theirs = (_resampled(runs, resamples, rng) for runs in (first, second))
    return _middle(ours.mean(axis=1) - theirs.mean(axis=1))


def student_t_margin(std: float, seeds: int) -> float:
    """Half of the 95 % interval of a mean over seeds that has this deviation (n - 1)."""
    return float(stdtrit(seeds - 1, (1 + LEVEL) / 2)) * std / seeds**0.5


def _resampled(
    runs: Sequence[ExampleCounts], resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Figures (resamples, runs) on test examples drawn anew."""
    examples = np.unique(np.concatenate([run.index for run in runs]))
    shape = (len(runs), *runs[0].counts.shape[1:])
    table = np.zeros((len(examples), *shape), np.int64)
    for number, run in enumerate(runs):
        table[np.searchsorted(examples, run.index), number] = run.counts
    # Examples on which all came out the same are of one kind. It is enough to draw how many there
    # are of each kind, and of right and wrong answers there are few kinds.
    kinds, sizes = np.unique(table.reshape(len(examples), -1), axis=0, return_counts=True)
    shares = sizes / len(examples)
    at_once = max(1, _NUMBERS_AT_ONCE // len(kinds))
    figures = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = rng.multinomial(len(examples), shares, size=count)
        accumulators = drawn.astype(float) @ kinds.astype(float)  # exact to 2^53
        figures.append(runs[0].score(accumulators.reshape(count, *shape)))
    return np.concatenate(figures)


def _middle(values: np.ndarray) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _share(counts: np.ndarray) -> np.ndarray:
    """Of counts (..., 2), hits and all, the share of hits."""
    return ratio(counts[..., 0], counts[..., 1])


def _mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Of confusion matrices (..., K, K): see `ssl_jax.metrics.mean_iou`."""
    iou = per_class_iou(confusion)
    return ratio(np.nansum(iou, axis=-1), (~np.isnan(iou)).sum(axis=-1))
