"""Values in another scale than the learned ones: reflectances, percents, stretches, byte order."""

import math
from typing import NamedTuple

import numpy as np

from data_pipelines.profiles.findings import Finding, Remedies
from data_pipelines.profiles.observation import Observation
from data_pipelines.profiles.profile import REFLECTANCE, DataProfile

__all__ = ["find_common_factor", "find_scale"]

# Means that differ by this factor in every band, in the same direction, are of another scale: snow
# and clouds are that much brighter in the visible bands only, water darker in the infrared only.
_FACTOR = 5.0
# Whole factors of all values are told from this share of the factor on between the means.
_PART_OF_FACTOR = 1 / 3
# Fewer different values may have a common factor by chance.
_MIN_VALUES = 6
_FIRST_VALUES = 32
# Pixels that diverge more than this, in nats, after a scale was undone have another one.
_UNEXPLAINED = 12.0
# Bytes in the other order multiply the divergence by more than any scene does.
_IMPROVEMENT_BY_BYTES = 10.0
_ENDS = (0.0, 255.0, 65_535.0)


class _Scale(NamedTuple):
    """Learned numbers are (values + offset) / factor."""

    factor: float
    offset: float
    description: str


def find_scale(observed: Observation, learned: DataProfile, remedies: Remedies) -> Finding | None:
    """Find a factor between the observed and the learned values, in all bands alike.

    Args:
        observed: The images.
        learned: What is expected.
        remedies: How the command is told what to do.
    """
    if (observed.mean <= 0).any() or (learned.mean <= 0).any():
        return None
    band = learned.bands[0]
    figures = f"{band.name} has mean {observed.mean[0]:,.4g}, {learned.verb} {band.mean:,.4g}"
    if _has_swapped_bytes(observed, learned):
        return Finding(
            "scale",
            True,
            f"the bytes of the values look exchanged ({figures}): read them in the other byte "
            "order, big-endian or little-endian",
        )
    ratios = np.log(observed.mean / learned.mean)
    smallest = float(np.abs(ratios).min())
    is_alike = bool((ratios > 0).all() or (ratios < 0).all())
    factor = find_common_factor(observed, learned)
    is_multiple = factor > 1 and bool((ratios > math.log(factor * _PART_OF_FACTOR)).all())
    if not is_multiple and not (is_alike and smallest > math.log(_FACTOR)):
        return None
    if is_multiple:
        stretch = " (an eight-bit stretch?)" if factor in (39, 257) else ""
        scale = _Scale(float(factor), 0.0, f"{factor} times the expected ones{stretch}")
    else:
        scale = _find_likely_scale(observed, learned, math.exp(float(np.median(ratios))))
    top = (1 - band.offset) / band.scale
    numbers = f"values look like {scale.description}; {learned.subject} digital numbers 0…"
    return Finding(
        "scale",
        True,
        f"{numbers}{top:,.0f}: {_explain(scale, top, remedies)} ({figures})",
    )


def _explain(scale: _Scale, top: float, remedies: Remedies) -> str:
    if top > 255 and "eight-bit" in scale.description:
        return "give the original values"
    offset = f" {remedies.offset.format(f'{scale.offset:.6g}')}" if scale.offset else ""
    return remedies.divide_by(scale.factor) + offset


def _find_likely_scale(observed: Observation, learned: DataProfile, ratio: float) -> _Scale:
    """Return the scale that makes the pixels most like the learned ones."""
    band = learned.bands[0]
    top = 1 / band.scale
    is_reflectance = band.unit == REFLECTANCE
    name = "reflectance" if is_reflectance else "fractions"
    scales = [
        _Scale(band.scale, 0.0, f"{name} 0…1"),
        _Scale(100 * band.scale, 0.0, "percent 0…100"),
        _Scale(0.1, 0.0, "a tenth of the expected ones"),
        _Scale(10.0, 0.0, "10 times the expected ones"),
        _Scale(100.0, 0.0, "100 times the expected ones"),
        _Scale(65_535 / top, 0.0, "16-bit values up to 65,535"),
    ]
    if is_reflectance:
        scales.append(_Scale(255 / top, 0.0, "eight-bit values 0…255"))
        # Landsat Collection 2: reflectance = number * 2.75e-5 - 0.2.
        scales.append(_Scale(band.scale / 2.75e-5, -0.2 / 2.75e-5, "Landsat Collection 2's"))
        if observed.saturated or observed.pixels.max() == 255:
            return _Scale(ratio, 0.0, "an eight-bit stretch 0…255")
    likely = min(scales, key=lambda scale: _diverge_without(scale, observed, learned))
    if _diverge_without(likely, observed, learned) < _UNEXPLAINED:
        return likely
    return _Scale(float(f"{ratio:.3g}"), 0.0, f"about {ratio:.3g} times the expected ones")


def _diverge_without(scale: _Scale, observed: Observation, learned: DataProfile) -> float:
    divergence = learned.pixel_distribution.diverge(
        (observed.mean + scale.offset) / scale.factor, observed.covariance / scale.factor**2
    )
    return float(divergence)


def _has_swapped_bytes(observed: Observation, learned: DataProfile) -> bool:
    highest = observed.highest.max()
    if learned.dtype != "uint16" or not 255 < highest <= 65_535 or not observed.are_integers:
        return False
    pixels = learned.pixel_distribution
    found = float(pixels.diverge(observed.mean, observed.covariance))
    if found < _IMPROVEMENT_BY_BYTES:
        return False
    swapped = observed.pixels.astype(np.uint16).byteswap().astype(np.float64)
    undone = float(pixels.diverge(swapped.mean(axis=1), np.cov(swapped, bias=True)))
    return bool(found > _IMPROVEMENT_BY_BYTES * max(undone, 1.0))


def find_common_factor(observed: Observation, learned: DataProfile) -> int:
    """Find the largest whole number that divides all values, but not the learned quantiles.

    Values at the ends of the range, where they may have been cut, don't count.

    Returns:
        The factor; 1 if there is none.
    """
    if not observed.are_integers:
        return 1
    few = observed.pixels[:, :: max(1, observed.pixels.shape[1] // _FIRST_VALUES)]
    for pixels in (few, observed.pixels):  # few values suffice where there is no factor
        values = np.unique(pixels)
        values = values[~np.isin(values, _ENDS)].astype(np.int64)
        factor = int(np.gcd.reduce(values)) if len(values) else 1
        if factor <= 1:
            return 1
    was_learned = learned.images and (np.round(learned.quantiles) % factor == 0).all()
    return 1 if was_learned or len(values) < _MIN_VALUES else factor
