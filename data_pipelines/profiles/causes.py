"""The likely causes of a difference: what was done to pixels that would otherwise be as learned."""

import functools
import itertools
import math

import numpy as np

from data_pipelines.profiles.findings import Finding, Remedies
from data_pipelines.profiles.observation import Observation
from data_pipelines.profiles.profile import REFLECTANCE, DataProfile
from data_pipelines.profiles.scales import find_common_factor

__all__ = ["find_order", "find_shift", "find_steps"]

# A cause is named if undoing it divides the divergence by so much: a region can look a little more
# like what was learned with its bands exchanged, and bright land as if a constant had been added.
_IMPROVEMENT_BY_ORDER, _IMPROVEMENT_BY_OFFSET = 1.4, 1.8
# Pixels that diverge less than this, in nats, need no cause; those that still diverge more after it
# was undone have another.
_ALIKE, _UNEXPLAINED = 0.5, 6.0
# What is added to Sentinel-2's digital numbers since baseline 04.00. Less than a part of it is left
# in the dark pixels of products without.
_ADDED, _PART = 1000.0, 0.7
# The dark pixels of all bands are shifted by as much, give or take this part of it.
_TOLERANCE = 0.4
# Bands up to which all orders are tried; of more bands, exchanges of two and the reverse.
_MAX_PERMUTED = 4
# Fewer different values than this, of that many pixels over a range as wide, are steps.
_STEP_SHARE, _STEP_RANGE = 0.2, 500.0


def find_shift(observed: Observation, learned: DataProfile, remedies: Remedies) -> Finding | None:
    """Find the constant that Sentinel-2's products have since baseline 04.00, or lack before.

    It is judged by the darkest twentieth of the pixels in all bands together: in products of the
    top of the atmosphere blue is as bright, but not red and near infrared.
    """
    band = learned.bands[0]
    if band.unit != REFLECTANCE or not math.isclose(band.scale, 1e-4, rel_tol=1e-3):
        return None
    darkest, learned_darkest = observed.quantiles[2].min(), learned.quantiles[2].min()
    pixels = learned.pixel_distribution
    limit = _PART * _ADDED
    if darkest >= limit > learned_darkest:
        added, cause = _ADDED, "look like a product since baseline 04.00"
    elif learned_darkest >= limit > darkest:
        added, cause = -_ADDED, "look like a product before baseline 04.00"
    else:
        return None
    means = np.stack([observed.mean, observed.mean - added])
    found, undone = pixels.diverge(means, observed.covariance)
    shifts = observed.quantiles[2] - learned.quantiles[2]
    is_alike = bool((np.abs(shifts - added) < _TOLERANCE * _ADDED).all())
    if not is_alike and not _explains(found, undone, _IMPROVEMENT_BY_OFFSET):
        return None
    index = int(np.argmin(shifts))
    return Finding(
        "offset",
        False,
        f"values {cause}: the darkest twentieth of {learned.names[index]} goes up to "
        f"{observed.quantiles[2, index]:,.0f}, {learned.verb} {learned.quantiles[2, index]:,.0f}, "
        f"and so in all bands: {remedies.offset.format(f'{-added:.0f}')}",
    )


def find_order(observed: Observation, learned: DataProfile, remedies: Remedies) -> Finding | None:
    """Find another order of the bands in which the pixels are much more like the learned ones."""
    if not learned.correlation:
        return None
    pixels = learned.pixel_distribution
    orders = _list_orders(len(learned.bands))
    if pixels.diverge(observed.mean, observed.covariance) < _ALIKE:
        return None
    found, *others = pixels.diverge(
        observed.mean[orders], observed.covariance[orders[:, :, None], orders[:, None, :]]
    )
    if not others or not _explains(found, min(others), _IMPROVEMENT_BY_ORDER):
        return None
    best = orders[1 + int(np.argmin(others))].tolist()
    names = learned.names
    moved = [index for index, source in enumerate(best) if index != source]
    # The band at position i of the images is the one that `best` takes from there.
    actual = [names[best.index(position)] for position in range(len(names))]
    what = (
        f"{names[moved[0]]} and {names[moved[1]]} look exchanged"
        if len(moved) == 2
        else f"the bands look like {', '.join(actual)} in this order"
    )
    index = moved[0]
    return Finding(
        "order",
        False,
        f"{what}: {names[index]} has mean {observed.mean[index]:,.4g}, {learned.verb} "
        f"{learned.mean[index]:,.4g}: {remedies.bands.format(','.join(actual))}",
    )


@functools.cache
def _list_orders(count: int) -> np.ndarray:
    """Return (orders, count) orders of bands to try; the first is the one they are in."""
    identity = tuple(range(count))
    if count <= _MAX_PERMUTED:
        return np.array(list(itertools.permutations(identity)))
    exchanges = [list(identity) for _ in range(1 + count * (count - 1) // 2)]
    pairs = itertools.combinations(identity, 2)
    for order, (first, second) in zip(exchanges[1:], pairs, strict=True):
        order[first], order[second] = second, first
    return np.array([*exchanges, identity[::-1]])


def find_steps(observed: Observation, learned: DataProfile) -> Finding | None:
    """Find values with wide steps between them, which a stretch of eight-bit images leaves."""
    was_learned = (
        learned.images and np.gcd.reduce(learned.quantiles.astype(np.int64), axis=None) > 1
    )
    if learned.dtype == "uint8" or was_learned or observed.pixels.shape[1] < _STEP_RANGE:
        return None
    if (factor := find_common_factor(observed, learned)) > 2:
        return Finding(
            "steps",
            False,
            f"all values are multiples of {factor}: an eight-bit stretch? Give the original values",
        )
    for index in range(len(learned.bands)):
        low, high = observed.quantiles[1, index], observed.quantiles[7, index]
        values = observed.sorted[index]
        inside = values[values.searchsorted(low) : values.searchsorted(high, "right")]
        count = 1 + int(np.count_nonzero(np.diff(inside)))
        possible = min(high - low, len(inside))
        if high - low < _STEP_RANGE or count >= _STEP_SHARE * possible or count > 256:
            return None
    return Finding(
        "steps",
        False,
        f"{learned.names[-1]} has only {count} different values between {low:,.0f} and "
        f"{high:,.0f}: an eight-bit stretch? Give the original values",
    )


def _explains(found: float, undone: float, improvement: float) -> bool:
    """Return whether a cause explains a divergence that is `undone` without it."""
    return found > _ALIKE and undone < _UNEXPLAINED and undone * improvement < found
