"""What labelled places say of a map or a region of it: error matrix, accuracies and areas.

A region is a domain. If the strata are the map's, the area of each stratum within the region is
known, and the places in the region are a stratified sample of it. Otherwise the region's share is a
ratio of two estimates (Stehman 2014).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssl_jax.estimation.estimators import (
    Estimate,
    Interval,
    Strata,
    estimate_ratio,
    estimate_share,
)

__all__ = ["Assessment", "ClassAssessment", "Design", "Domain", "Units", "assess"]

# Places of a class, by reference, below which its interval is said to be wide.
_FEW = 5


class Units(NamedTuple):
    """Labelled places, by index of their stratum, mapped class and reference class.

    Attributes:
        strata: (n,) strata.
        mapped: (n,) classes of the map.
        references: (n,) classes of the references.
    """

    strata: np.ndarray
    mapped: np.ndarray
    references: np.ndarray


@dataclass(frozen=True)
class Design:
    """The strata of a sample.

    Attributes:
        areas: (strata,) their areas.
        classes: (strata,) index of the one class of the map that a stratum consists of; -1 for
            strata of another map.
    """

    areas: np.ndarray
    classes: np.ndarray


class ClassAssessment(NamedTuple):
    """What is known of a class.

    Attributes:
        name: Its name.
        places: Number of places with it as reference.
        mapped_pixels: Number of its pixels in the map.
        mapped_area: Their area.
        area: Its estimated area.
        users: User's accuracy.
        producers: Producer's accuracy.
    """

    name: str
    places: int
    mapped_pixels: int
    mapped_area: float
    area: Estimate
    users: Estimate
    producers: Estimate


class Assessment(NamedTuple):
    """What is known of a map, or of a region of it.

    Attributes:
        name: Name of the region; empty for all of the map.
        total: Its area.
        counts: (classes, classes) numbers of places by mapped class and reference.
        shares: (classes, classes) estimated shares of the area.
        classes: What is known of each class.
        overall: Overall accuracy.
        notes: What to know of the intervals.
    """

    name: str
    total: float
    counts: np.ndarray
    shares: np.ndarray
    classes: tuple[ClassAssessment, ...]
    overall: Estimate
    notes: tuple[str, ...]


class Domain(NamedTuple):
    """What an assessment is of.

    Attributes:
        name: Its name; empty for all of the map.
        is_inside: (n,) whether a unit lies in it.
        areas: (strata,) areas of the strata in it; None if only the whole is known.
        pixels: (classes,) numbers of pixels of the map's classes in it.
        mapped: (classes,) their areas.
    """

    name: str
    is_inside: np.ndarray
    areas: np.ndarray | None
    pixels: np.ndarray
    mapped: np.ndarray


def assess(
    names: Sequence[str], design: Design, units: Units, domain: Domain, interval: Interval
) -> Assessment:
    """Assess a map, or a region of it.

    Args:
        names: Names of the classes.
        design: The strata of the whole sample, each with a unit at least.
        units: The units of the whole sample.
        domain: What to assess.
        interval: How to make intervals.
    """
    counts = _count(design, units, domain.is_inside, len(names))
    if domain.areas is None:
        # The units outside count as neither hits nor misses.
        sizes = np.bincount(units.strata, minlength=len(design.areas))
        strata = Strata(design.areas / design.areas.sum(), sizes)
        total = float(domain.mapped.sum())
    else:
        strata = Strata(domain.areas / domain.areas.sum(), counts.sum((1, 2)))
        total = float(domain.areas.sum())
    estimator = _Estimator(design, units, strata, counts, interval, domain.areas is not None)
    hits = counts.sum(0)
    classes = tuple(
        ClassAssessment(
            name,
            int(hits[:, index].sum()),
            int(domain.pixels[index]),
            float(domain.mapped[index]),
            Estimate(*(part * total for part in estimator.share(index))),
            estimator.users(index),
            estimator.producers(index),
        )
        for index, name in enumerate(names)
    )
    cells = np.where(strata.sizes > 0, strata.weights / np.maximum(strata.sizes, 1), 0)
    shares = np.einsum("h,hij->ij", cells, counts)
    if shares.sum():
        shares = shares / shares.sum()
    notes = _explain(names, design, domain, strata, counts)
    return Assessment(domain.name, total, hits, shares, classes, estimator.overall(), notes)


class _Estimator:
    """The estimators of a domain, from numbers of units by stratum, mapped class and reference."""

    def __init__(
        self,
        design: Design,
        units: Units,
        strata: Strata,
        counts: np.ndarray,
        interval: Interval,
        is_whole: bool,
    ):
        self._strata, self._counts, self._interval = strata, counts, interval
        self._is_whole, self._classes = is_whole, design.classes
        # What the whole sample says of strata without units in the domain.
        everywhere = np.ones(len(units.strata), bool)
        whole = _count(design, units, everywhere, counts.shape[1])
        self._expected = whole / np.maximum(whole.sum((1, 2), keepdims=True), 1)

    def share(self, index: int) -> Estimate:
        """Return the share of the area of a class."""
        hits = self._counts[:, :, index].sum(1)
        if not self._is_whole:
            misses = self._counts.sum((1, 2)) - hits
            return estimate_ratio(self._strata, hits, misses, self._interval)
        expected = self._expected[:, :, index].sum(1)
        return estimate_share(self._strata, hits, self._interval, expected)

    def overall(self) -> Estimate:
        """Return the overall accuracy."""
        hits = np.trace(self._counts, axis1=1, axis2=2)
        if not self._is_whole:
            misses = self._counts.sum((1, 2)) - hits
            return estimate_ratio(self._strata, hits, misses, self._interval)
        expected = np.trace(self._expected, axis1=1, axis2=2)
        return estimate_share(self._strata, hits, self._interval, expected)

    def users(self, index: int) -> Estimate:
        """Return the user's accuracy of a class."""
        both = self._counts[:, index].sum(1), self._expected[:, index].sum(1)
        return self._accuracy(index, both, (self._is_of(index), self._is_of(index)))

    def producers(self, index: int) -> Estimate:
        """Return the producer's accuracy of a class."""
        both = self._counts[:, :, index].sum(1), self._expected[:, :, index].sum(1)
        return self._accuracy(index, both, (self._is_of(index), self._classes != index))

    def _is_of(self, index: int) -> np.ndarray:
        """Return whether strata have pixels that are mapped as a class."""
        return (self._classes == index) | (self._classes < 0)

    def _accuracy(
        self,
        index: int,
        both: tuple[np.ndarray, np.ndarray],
        possible: tuple[np.ndarray, np.ndarray],
    ) -> Estimate:
        """Estimate which share of `both`, counted and expected, is right."""
        hits, expected = self._counts[:, index, index], self._expected[:, index, index]
        if not self._is_whole:
            expected, both = np.zeros_like(expected), (both[0], np.zeros_like(expected))
        return estimate_ratio(
            self._strata,
            hits,
            both[0] - hits,
            self._interval,
            (expected, both[1] - expected),
            possible,
        )


def _count(design: Design, units: Units, chosen: np.ndarray, classes: int) -> np.ndarray:
    """Return the (strata, mapped, references) numbers of the chosen units."""
    counts = np.zeros((len(design.areas), classes, classes), np.int64)
    np.add.at(counts, tuple(part[chosen] for part in units), 1)
    return counts


def _explain(
    names: Sequence[str], design: Design, domain: Domain, strata: Strata, counts: np.ndarray
) -> tuple[str, ...]:
    notes = []
    places = int(counts.sum())
    without = float(strata.weights[strata.sizes == 0].sum()) if domain.areas is not None else 0.0
    if not places and domain.areas is None:
        notes.append("too few labels: none lies here, and the intervals hold everything")
    elif without > 0:
        notes.append(
            f"too few labels: {100 * without:.1f} % of the area lies in strata without a place, "
            "whose proportions are those of the whole map, from 0 to 1 in the intervals"
        )
    found = counts.sum((0, 1))
    few = [f"{name} ({count})" for name, count in zip(names, found, strict=True) if count < _FEW]
    if few:
        notes.append(
            f"fewer than {_FEW} places have the reference {', '.join(few)}: too few for a narrow "
            "interval"
        )
    return tuple(notes)
