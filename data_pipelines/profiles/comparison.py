"""Comparison of images with what was learned: one finding for each thing that differs.

What no season or region explains is refused: values that aren't numbers or are negative, another
scale, bands that are constant or the same. What may be natural is a warning. The likely causes are
in `causes`.
"""

from collections.abc import Iterator

import numpy as np

from data_pipelines.profiles.causes import find_order, find_shift, find_steps
from data_pipelines.profiles.findings import Finding, Remedies
from data_pipelines.profiles.observation import COLLAR, Observation
from data_pipelines.profiles.profile import DataProfile
from data_pipelines.profiles.scales import find_scale

__all__ = ["MANY_IMAGES", "compare", "compare_range", "compare_resolution"]

# From this number of images on, they are expected to be as varied as the learned ones.
MANY_IMAGES = 8
# Ground sampling distances that differ by less are the same: objects differ as much in size.
_RESOLUTION_RATIO = 1.5
# Shares of pixels: of negative values that interpolation leaves, of clipped values that clouds and
# roofs explain, and of those that nothing explains.
_FEW, _BRIGHT, _MOST = 0.01, 0.1, 0.5
# Usual values of nodata in signed numbers.
_NODATA = (-9999.0, -32768.0, -99999.0, -3.4028234663852886e38)
# Mean spectra further off than these, in standard deviations of the learned pixels, are unlike: of
# many images, and of a few, which may show a single kind of land.
_SHIFT_OF_MANY, _SHIFT_OF_FEW = 3.0, 4.5
# Divergence, in nats, of the pixels of many images that are unlike.
_DIVERGENCE = 6.0


def compare(observed: Observation, learned: DataProfile, remedies: Remedies) -> list[Finding]:
    """Compare images with the profile of the images that a network learned, or of their sensor.

    Args:
        observed: The images, with the profile's bands.
        learned: The profile.
        remedies: How the command is told what to do.

    Returns:
        The findings, at most one a check.
    """
    findings = _check_kind(observed, learned, remedies)
    if observed.is_blank or any(finding.refuse for finding in findings):
        return findings
    if scale := find_scale(observed, learned, remedies):
        return [*findings, scale]  # which explains values that are clipped
    causes = (
        find_shift(observed, learned, remedies),
        find_order(observed, learned, remedies),
        find_steps(observed, learned),
    )
    findings += _check_range(observed, learned, remedies)
    findings += [cause for cause in causes if cause is not None]
    return findings or [*_check_distribution(observed, learned)]


def compare_range(observed: Observation, sensor: DataProfile, remedies: Remedies) -> list[Finding]:
    """Compare images with the range of a sensor whose statistics aren't known.

    Args:
        observed: The images.
        sensor: A profile with the sensor's bands and dtype; its statistics are only an example.
        remedies: How the command is told what to do.

    Returns:
        The findings, at most one a check.
    """
    findings = _check_kind(observed, sensor, remedies)
    if observed.is_blank or any(finding.refuse for finding in findings):
        return findings
    findings += _check_range(observed, sensor, remedies)
    steps = find_steps(observed, sensor)
    return [*findings, steps] if steps else findings


def _check_kind(observed: Observation, learned: DataProfile, remedies: Remedies) -> list[Finding]:
    """Find values and bands that are no pixels of the sensor."""
    findings = [*_check_values(observed, learned, remedies)]
    if not observed.is_blank:
        findings += _check_bands(observed, learned, remedies)
    return findings


def compare_resolution(found: float, learned: float) -> list[Finding]:
    """Compare ground sampling distances, in metres; 0 where one is unknown."""
    if not found or not learned or max(found / learned, learned / found) < _RESOLUTION_RATIO:
        return []
    return [
        Finding(
            "resolution",
            False,
            f"another resolution: {found:g} m, learned at {learned:g} m; resample the images to "
            f"{learned:g} m",
        )
    ]


def _check_values(
    observed: Observation, learned: DataProfile, remedies: Remedies
) -> Iterator[Finding]:
    """Find values that can't be digital numbers."""
    if observed.not_finite:
        yield Finding(
            "nan",
            True,
            f"{observed.not_finite:.2%} of the values are NaN or infinite; expected numbers: "
            "replace nodata before",
        )
    if observed.dtype.kind not in "uif":
        yield Finding(
            "dtype",
            True,
            f"dtype {observed.dtype}; expected {learned.dtype} or other real numbers",
        )
    brightest = max(band.quantiles[-1] for band in learned.bands)
    is_cut = learned.dtype != "uint8" and brightest > np.iinfo(np.uint8).max
    if observed.dtype == np.uint8 and is_cut:
        median = float(np.median(learned.quantiles[4]))
        yield Finding(
            "dtype",
            True,
            f"eight-bit values (dtype uint8); {learned.subject} {learned.dtype} digital numbers "
            f"around {median:,.0f}: an eight-bit stretch for display? Give the original values",
        )
    yield from _check_signs(observed, learned, remedies)
    yield from _check_collars(observed, learned)


def _check_signs(
    observed: Observation, learned: DataProfile, remedies: Remedies
) -> Iterator[Finding]:
    if observed.lowest.min() >= 0:
        return
    shares = (observed.pixels < 0).mean(axis=1)
    band = int(np.argmax(shares))
    lowest = float(observed.lowest[band])
    yield Finding(
        "negative",
        bool(shares[band] > _FEW),
        f"{shares[band]:.1%} of {learned.names[band]} are below zero, down to {lowest:,.5g}; "
        f"{learned.subject} {learned.dtype}: " + _explain_signs(observed, lowest, remedies),
    )


def _explain_signs(observed: Observation, lowest: float, remedies: Remedies) -> str:
    """Name the likely cause of negative values."""
    if observed.dtype == np.int8:
        return "signed bytes? Read them as uint8"
    if (np.abs(observed.mean) < 3).all() and np.abs(observed.pixels).max() < 50:
        return "standardised values? Give digital numbers, the network standardises them itself"
    if lowest in _NODATA:
        return f"nodata of {lowest:,.5g}? Set it to 0"
    if lowest < -1e4 and observed.dtype.kind == "i":
        return "uint16 read as int16? Read it as uint16"
    return f"a constant that was subtracted? {remedies.offset.format('…')} adds it again"


def _check_collars(observed: Observation, learned: DataProfile) -> Iterator[Finding]:
    """Find images, or large parts of them, without data."""
    many = observed.images >= MANY_IMAGES
    if observed.is_blank and not observed.not_finite:
        value = f"{observed.highest.max():,.6g}"
        yield Finding("constant", many, f"all pixels have the same value, {value}: no data?")
        return
    learned_saturated = min(band.saturated for band in learned.bands)
    for check, share, learned_share, value in (
        ("zeros", observed.nodata, learned.nodata, "0"),
        ("saturation", observed.saturated, learned_saturated, "the largest number"),
    ):
        if share - learned_share > COLLAR:
            yield Finding(
                check,
                False,
                f"{share:.0%} of the pixels are {value} in all bands, {learned.verb} "
                f"{learned_share:.0%}: a collar of nodata?",
            )


def _check_bands(
    observed: Observation, learned: DataProfile, remedies: Remedies
) -> Iterator[Finding]:
    """Find bands that are constant, or equal to another."""
    names, many = learned.names, observed.images >= MANY_IMAGES
    lowest, highest = observed.lowest, observed.highest
    for index, band in enumerate(learned.bands):
        is_alpha = bool(
            lowest[index] == 0
            and highest[index] in (255, 65535)
            and np.isin(observed.pixels[index], (0, highest[index])).all()
        )
        if band.std == 0 or not (lowest[index] == highest[index] or is_alpha):
            continue
        # A tile of water can have a constant, dark near infrared.
        is_possible = band.quantiles[0] <= lowest[index] <= band.quantiles[2]
        value = f"{highest[index]:,.6g}"
        kind = f"0 or {value} everywhere" if is_alpha else f"constant {value}"
        is_end = highest[index] in (255, 65535)
        cause = "an alpha band, or cut there?" if is_end else "a band that is missing?"
        if not learned.images:  # no network that needs it
            others = [name for name in names if name != band.name]
            cause += f" Leave it out: {remedies.bands.format(','.join(others))}"
        yield Finding(
            "constant",
            is_alpha or many or not is_possible,
            f"{band.name} is {kind}; {learned.verb} {band.quantiles[1]:,.0f} to "
            f"{band.quantiles[7]:,.0f}: {cause}",
        )
        return
    for first in range(len(names)):
        for second in range(first):
            is_grey = learned.correlation and learned.correlation[first][second] > 0.9999
            same = observed.mean[first] == observed.mean[second] and np.array_equal(
                observed.pixels[first], observed.pixels[second]
            )
            if same and not is_grey:
                yield Finding(
                    "identical",
                    True,
                    f"{names[second]} and {names[first]} have the same values everywhere: one band "
                    "repeated?",
                )
                return


def _check_range(
    observed: Observation, learned: DataProfile, remedies: Remedies
) -> Iterator[Finding]:
    """Find values that are clipped, cut or missing."""
    # A digit of the scale may be missing: 255 × 0.0039216 is slightly more than 1.
    tops = np.array([(1 + 1e-4 - band.offset) / band.scale for band in learned.bands])
    beyond = observed.share_from(tops)
    excess = beyond - np.array([band.beyond for band in learned.bands])
    band = int(np.argmax(excess))
    top = float(tops[band] / (1 + 1e-4))
    if excess[band] > _BRIGHT:
        highest = float(observed.quantiles[-1, band])
        yield Finding(
            "range",
            bool(excess[band] > _MOST),
            f"{beyond[band]:.0%} of {learned.names[band]} are cut at {top:,.0f}: values up to "
            f"{highest:,.0f}, {learned.verb} up to {learned.bands[band].quantiles[-1]:,.0f}: "
            + _explain_range(highest, top, remedies),
        )
    zeros = 1 - observed.share_from(0.5)
    band = int(np.argmax(zeros - (learned.quantiles[0] <= 0)))
    if (
        observed.nodata - learned.nodata <= COLLAR
        and zeros[band] > _BRIGHT
        and learned.bands[band].quantiles[0] > 0
    ):
        yield Finding(
            "zeros",
            False,
            f"{zeros[band]:.0%} of {learned.names[band]} are 0, {learned.verb} from "
            f"{learned.bands[band].quantiles[1]:,.0f} on: an offset subtracted twice?",
        )


def _explain_range(highest: float, top: float, remedies: Remedies) -> str:
    """Name the likely cause of values that are clipped."""
    if top < 256:
        return "digital numbers of 16 bits, where eight-bit values are expected?"
    if highest > 2 * top:
        flag = remedies.divide_by(65535 / top)
        return f"16-bit values up to 65,535? {flag}"
    return "another scale?"


def _check_distribution(observed: Observation, learned: DataProfile) -> Iterator[Finding]:
    many = observed.images >= MANY_IMAGES
    pixels = learned.pixel_distribution
    shift = pixels.shift(observed.mean)
    divergence = float(pixels.diverge(observed.mean, observed.covariance))
    is_unlike = shift > (_SHIFT_OF_MANY if many else _SHIFT_OF_FEW)
    if not is_unlike and not (many and divergence > _DIVERGENCE):
        return
    deviations = pixels.deviation
    band = int(np.argmax(np.abs(observed.mean - learned.mean) / deviations))
    yield Finding(
        "distribution",
        False,
        f"the pixels are unlike the {learned.verb} ones, most of all {learned.names[band]}: mean "
        f"{observed.mean[band]:,.5g}, {learned.verb} {learned.mean[band]:,.5g} ± "
        f"{deviations[band]:,.5g}: another sensor, processing, season or region?",
    )
