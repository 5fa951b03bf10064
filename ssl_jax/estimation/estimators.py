"""Estimators of shares, ratios and differences from stratified samples, with their intervals.

A unit of the sample either hits (such as: is forest, by its reference), misses (such as: is mapped
as forest, but isn't), or is neither. Everything follows from the numbers of hits and misses in each
stratum, so that the strata may be the classes of the map or any others (Stehman 2014, "Estimating
area and map accuracy for stratified random sampling when the strata are different from the map
classes"). With the map's classes as strata these are the estimators of Olofsson et al. (2014, "Good
practices for estimating area and assessing accuracy of land change").

Normal intervals, ± z standard errors, fail where classes are rare: with no hit in a stratum its
variance is estimated as 0. Score-based ones start from an interval of each stratum's proportion
(Wilson 1927; its lower limit for few hits is Poisson's, since Wilson's fails there: Brown, Cai and
DasGupta 2001, "Interval estimation for a binomial proportion") and combine them by MOVER, the
method of variance estimates recovery (Zou and Donner 2008), with the correlation of hits and misses
of a stratum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import chi2, norm

__all__ = [
    "Estimate",
    "Interval",
    "IntervalMethod",
    "Strata",
    "bound_proportion",
    "estimate_difference",
    "estimate_ratio",
    "estimate_share",
]

IntervalMethod = Literal["score", "normal"]

# The normal quantile that the papers use for 95 %.
_PRINTED_QUANTILE = 1.96
_STEPS = 50  # of a bisection


@dataclass(frozen=True)
class Interval:
    """How intervals are made.

    Attributes:
        confidence: Their confidence, such as 0.95.
        method: `score`, or `normal` for the interval of the papers.
    """

    confidence: float = 0.95
    method: IntervalMethod = "score"

    @property
    def quantile(self) -> float:
        """Quantile of the normal distribution; 1.96 for 95 %, as the papers have it."""
        if self.confidence == 0.95:
            return _PRINTED_QUANTILE
        return float(norm.ppf((1 + self.confidence) / 2))


class Estimate(NamedTuple):
    """An estimate with its interval; NaN where there is none.

    Attributes:
        value: (...) the estimate.
        standard_error: (...) its standard error.
        lower: (...) lower limit of the interval.
        upper: (...) upper limit.
    """

    value: np.ndarray
    standard_error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Strata:
    """The design of a sample.

    Attributes:
        weights: (..., strata) shares of the area, which add up to 1.
        sizes: (..., strata) numbers of units. For a stratum without any, `expected` says what to
            put in the place of its proportions, and its interval is from 0 to 1.
    """

    weights: np.ndarray
    sizes: np.ndarray


def estimate_share(
    strata: Strata, hits: np.ndarray, interval: Interval, expected: np.ndarray | float = 0.0
) -> Estimate:
    """Estimate the share of the area that hits.

    Args:
        strata: The design.
        hits: (..., strata) numbers of units that hit.
        interval: How to make the interval.
        expected: (..., strata) proportions of hits of strata without units.
    """
    proportions = _divide(hits, strata.sizes, expected)
    value = (strata.weights * proportions).sum(-1)
    variance = strata.weights**2 * _variance_of_mean(proportions, strata.sizes)
    error = np.sqrt(variance.sum(-1))
    if interval.method == "normal":
        return _normal(value, error, interval, 0.0)
    lower, upper = bound_proportion(hits, strata.sizes, interval)
    below = _add_distances(strata.weights * (proportions - lower), 0.0, 0.0, strata.sizes)
    above = _add_distances(strata.weights * (upper - proportions), 0.0, 0.0, strata.sizes)
    return Estimate(value, error, np.maximum(value - below, 0), np.minimum(value + above, 1))


def estimate_ratio(
    strata: Strata,
    hits: np.ndarray,
    misses: np.ndarray,
    interval: Interval,
    expected: tuple[np.ndarray | float, np.ndarray | float] = (0.0, 0.0),
    possible: tuple[np.ndarray | bool, np.ndarray | bool] = (True, True),
) -> Estimate:
    """Estimate the area that hits as a share of the area that hits or misses.

    User's accuracy is the ratio for units that are mapped as a class, producer's accuracy that for
    units whose reference is the class.

    Args:
        strata: The design.
        hits: (..., strata) numbers of units that hit.
        misses: (..., strata) numbers of units that miss.
        interval: How to make the interval. A score-based one solves for the ratios at which the
            interval of the area of hits minus ratio × area of both holds 0.
        expected: (..., strata) proportions of hits and of misses in strata without units.
        possible: (strata,) whether units of a stratum can hit, and whether they can miss. If the
            strata are the classes of the map, those of other classes never count for the user's
            accuracy of a class, however few units there are.

    Returns:
        The ratio; NaN where neither hits nor misses are found, with the limits 0 and 1.
    """
    right = np.where(possible[0], _divide(hits, strata.sizes, expected[0]), 0.0)
    wrong = np.where(possible[1], _divide(misses, strata.sizes, expected[1]), 0.0)
    right_share, wrong_share = ((strata.weights * part).sum(-1) for part in (right, wrong))
    both = right_share + wrong_share
    with np.errstate(invalid="ignore", divide="ignore"):
        value = right_share / both
        ratio = value[..., None]
        # Variance of the residuals y − ratio × x, which are 1 − ratio, −ratio and 0.
        mean = right * (1 - ratio) - wrong * ratio
        square = right * (1 - ratio) ** 2 + wrong * ratio**2
        variance = strata.weights**2 * _bessel(square - mean**2, strata.sizes)
        counted = np.logical_or(*possible)
        error = np.sqrt(np.where(counted, variance, 0.0).sum(-1)) / both
    if interval.method == "normal":
        return _normal(value, error, interval, 0.0)
    bounds = _Bounds.of(strata, hits, misses, (right, wrong), interval, possible)

    def lower_limit(ratio: np.ndarray) -> np.ndarray:
        return bounds.combine(1 - ratio, -ratio)[0]

    def upper_limit(ratio: np.ndarray) -> np.ndarray:
        return bounds.combine(1 - ratio, -ratio)[1]

    known = np.where(np.isnan(value), 0.5, value)
    lower = _solve(lower_limit, np.zeros_like(known), known)
    upper = _solve(upper_limit, known, np.ones_like(known))
    empty = np.isnan(value)
    return Estimate(value, error, np.where(empty, 0, lower), np.where(empty, 1, upper))


def estimate_difference(
    strata: Strata, hits: np.ndarray, misses: np.ndarray, interval: Interval
) -> Estimate:
    """Estimate the share of the area that hits minus the share that misses.

    Args:
        strata: The design.
        hits: (..., strata) numbers of units that only the one map has right.
        misses: (..., strata) numbers of units that only the other map has right.
        interval: How to make the interval.
    """
    right, wrong = _divide(hits, strata.sizes, 0.0), _divide(misses, strata.sizes, 0.0)
    difference = right - wrong
    value = (strata.weights * difference).sum(-1)
    variance = strata.weights**2 * _bessel(right + wrong - difference**2, strata.sizes)
    error = np.sqrt(variance.sum(-1))
    if interval.method == "normal":
        return _normal(value, error, interval, -1.0)
    bounds = _Bounds.of(strata, hits, misses, (right, wrong), interval)
    one = np.ones_like(value)
    lower, upper = bounds.combine(one, -one)
    return Estimate(value, error, np.maximum(lower, -1), np.minimum(upper, 1))


def bound_proportion(
    hits: np.ndarray, sizes: np.ndarray, interval: Interval
) -> tuple[np.ndarray, np.ndarray]:
    """Return the score-based limits of proportions.

    Args:
        hits: (...) numbers of units that hit.
        sizes: (...) numbers of units; 0 gives the limits 0 and 1.
        interval: Its confidence.
    """
    n, z2 = np.maximum(sizes, 1), interval.quantile**2
    p = hits / n
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    few, few_left = _poisson_limit(hits, n, interval), _poisson_limit(sizes - hits, n, interval)
    lower = np.where(hits == 0, 0.0, np.minimum(middle - half, few))
    upper = np.where(hits == sizes, 1.0, np.maximum(middle + half, 1 - few_left))
    return np.where(sizes == 0, 0.0, np.maximum(lower, 0)), np.where(sizes == 0, 1.0, upper)


def _poisson_limit(hits: np.ndarray, n: np.ndarray, interval: Interval) -> np.ndarray:
    """Return Poisson's lower limit of the proportion; above 1 where Wilson's is good."""
    counts = np.arange(_FEW + 1)
    limits = chi2.ppf((1 - interval.confidence) / 2, 2 * np.maximum(counts, 1)) / 2
    index = np.clip(np.asarray(hits), 0, _FEW).astype(int)
    return np.where((hits >= 1) & (hits <= _FEW), limits[index] / n, 2.0)


# Numbers of hits up to which Wilson's lower limit is too high.
_FEW = 3


@dataclass(frozen=True)
class _Bounds:
    """Hits and misses of strata, as shares of the area, each with how far its limits are away."""

    shares: tuple[np.ndarray, np.ndarray]
    below: tuple[np.ndarray, np.ndarray]
    above: tuple[np.ndarray, np.ndarray]
    correlation: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(
        cls,
        strata: Strata,
        hits: np.ndarray,
        misses: np.ndarray,
        proportions: tuple[np.ndarray, np.ndarray],
        interval: Interval,
        possible: tuple[np.ndarray | bool, np.ndarray | bool] = (True, True),
    ) -> "_Bounds":
        right, wrong = proportions
        weights = [np.where(can, strata.weights, 0.0) for can in possible]
        limits = [bound_proportion(counts, strata.sizes, interval) for counts in (hits, misses)]
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = -np.sqrt(right * wrong / ((1 - right) * (1 - wrong)))
        return cls(
            ((weights[0] * right).sum(-1), (weights[1] * wrong).sum(-1)),
            (weights[0] * (right - limits[0][0]), weights[1] * (wrong - limits[1][0])),
            (weights[0] * (limits[0][1] - right), weights[1] * (limits[1][1] - wrong)),
            np.clip(np.nan_to_num(correlation, nan=-1.0, neginf=-1.0), -1, 0),
            strata.sizes,
        )

    def combine(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the limits of first × hits + second × misses, with second ≤ 0 ≤ first."""
        value = first * self.shares[0] + second * self.shares[1]
        first, second = first[..., None], -second[..., None]
        return (
            value - self._distance(first * self.below[0], second * self.above[1]),
            value + self._distance(first * self.above[0], second * self.below[1]),
        )

    def _distance(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return _add_distances(one, other, self.correlation, self.sizes)


def _add_distances(
    one: np.ndarray,
    other: np.ndarray | float,
    correlation: np.ndarray | float,
    sizes: np.ndarray,
) -> np.ndarray:
    """Return how far the limit of a sum over strata is away.

    The errors of strata with units are independent. Those of strata without any aren't random, and
    add up at worst.
    """
    squares = one**2 + other**2 - 2 * correlation * one * other
    return np.asarray(
        np.sqrt(np.where(sizes > 0, squares, 0.0).sum(-1))
        + np.where(sizes > 0, 0.0, one + other).sum(-1)
    )


def _solve(
    function: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Find by bisection where a function that is positive at `low` becomes negative."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        is_positive = function(middle) > 0
        low, high = np.where(is_positive, middle, low), np.where(is_positive, high, middle)
    return (low + high) / 2


def _divide(counts: np.ndarray, sizes: np.ndarray, expected: np.ndarray | float) -> np.ndarray:
    return np.where(sizes > 0, counts / np.maximum(sizes, 1), expected)


def _bessel(variance: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the variances of means; NaN for one unit or none, whose variance is unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sizes > 1, variance / (sizes - 1.0), np.nan)


def _variance_of_mean(proportions: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return _bessel(proportions * (1 - proportions), sizes)


def _normal(value: np.ndarray, error: np.ndarray, interval: Interval, lowest: float) -> Estimate:
    half = interval.quantile * error
    return Estimate(value, error, np.maximum(value - half, lowest), np.minimum(value + half, 1.0))
