"""Measurement of profiles: from exact counts, or from the published statistics of a sensor."""

import math
from collections.abc import Sequence

import numpy as np

from data_pipelines.bands import Band, Sensor
from data_pipelines.profiles.counts import SplitCounts
from data_pipelines.profiles.profile import (
    PERCENTS,
    BandProfile,
    ClassProfile,
    DataProfile,
    name_unit,
)

__all__ = ["make_profile", "make_published_profile", "make_range_profile"]

# The quantiles of the normal distribution at PERCENTS.
_NORMAL_QUANTILES = (-3.0902, -2.3263, -1.6449, -0.6745, 0.0, 0.6745, 1.6449, 2.3263, 3.0902)


def make_profile(
    sensor: Sensor,
    image_size: tuple[int, int],
    counts: SplitCounts,
    is_sample: bool = False,
    counted: str = "",
    classes: Sequence[ClassProfile] = (),
) -> DataProfile:
    """Make the profile of counted images.

    Args:
        sensor: The sensor, with a band for each channel of the images.
        image_size: Height and width of an image.
        counts: The counts of at least one image.
        is_sample: Whether only a random sample of the images was counted.
        counted: What the classes' counts are of, `examples` or `pixels`; empty without classes.
        classes: The classes.
    """
    assert counts.histograms is not None
    covariance = _make_covariance(counts)
    std = np.sqrt(np.diag(covariance))
    # A constant band has no correlation with any other.
    scales = np.outer(std, std)
    correlation = np.divide(covariance, scales, out=np.zeros_like(scales), where=scales > 0)
    np.fill_diagonal(correlation, 1.0)
    return DataProfile(
        sensor=sensor.name,
        resolution=sensor.resolution,
        image_size=image_size,
        dtype=counts.dtype,
        images=counts.images,
        pixels=counts.pixels,
        is_sample=is_sample,
        nodata=counts.nodata / counts.pixels,
        bands=tuple(
            _make_band(sensor, index, histogram)
            for index, histogram in enumerate(counts.histograms)
        ),
        correlation=tuple(map(tuple, correlation.clip(-1, 1).tolist())),
        counted=counted,
        classes=tuple(classes),
    )


def _make_covariance(counts: SplitCounts) -> np.ndarray:
    sampled = max(counts.sampled, 1)  # there may be no data
    mean = counts.total / sampled
    covariance = counts.products / sampled - np.outer(mean, mean)
    # What rounding leaves of a constant band's variance.
    covariance[np.abs(covariance) < 1e-9 * counts.products / sampled] = 0.0
    return covariance


def _make_band(sensor: Sensor, index: int, histogram: np.ndarray) -> BandProfile:
    band, values = sensor.bands[index], np.arange(len(histogram))
    if not histogram.any():  # no image has data
        histogram = np.eye(1, len(histogram), dtype=np.int64)[0]
    pixels = int(histogram.sum())
    mean = float(values @ histogram) / pixels
    variance = float((values - mean) ** 2 @ histogram) / pixels
    ranks = np.ceil(np.array(PERCENTS) / 100 * pixels)
    physical = values * band.scale + band.offset
    # A digit of the scale may be missing: 255 × 0.0039216 is slightly more than 1.
    outside = (physical < -1e-6) | (physical > 1 + 1e-4)
    return _describe_band(
        band,
        np.searchsorted(histogram.cumsum(), ranks).astype(float).tolist(),
        mean,
        math.sqrt(variance),
        saturated=float(histogram[-1]) / pixels,
        beyond=float(histogram[outside].sum()) / pixels,
    )


def make_published_profile(
    sensor: Sensor, image_size: tuple[int, int], dtype: str
) -> DataProfile | None:
    """Make the profile of a sensor's images from their published means and deviations.

    The quantiles are those of the log-normal distribution with these moments, which reflectances
    follow roughly; the correlation is unknown.

    Args:
        sensor: The sensor.
        image_size: Height and width of an image.
        dtype: Dtype of its digital numbers.

    Returns:
        The profile, or None if the sensor has no statistics or not of positive numbers.
    """
    if not sensor.measured or any(band.mean <= 0 for band in sensor.bands):
        return None
    bands = []
    for band in sensor.bands:
        variance = math.log1p((band.std / band.mean) ** 2)
        centre, width = math.log(band.mean) - variance / 2, math.sqrt(variance)
        quantiles = np.exp(centre + width * np.array(_NORMAL_QUANTILES))
        quantiles = quantiles.clip(max=np.iinfo(dtype).max).tolist()
        bands.append(_describe_band(band, quantiles, band.mean, band.std))
    return _describe_sensor(sensor, image_size, dtype, bands)


def make_range_profile(sensor: Sensor, image_size: tuple[int, int], dtype: str) -> DataProfile:
    """Make a profile of numbers that are spread evenly over the range that a sensor's bands keep.

    Args:
        sensor: The sensor.
        image_size: Height and width of an image.
        dtype: Dtype of its digital numbers.
    """
    bands = []
    for band in sensor.bands:
        low, high = -band.offset / band.scale, (1 - band.offset) / band.scale
        quantiles = [low + (high - low) * percent / 100 for percent in PERCENTS]
        bands.append(
            _describe_band(band, quantiles, (low + high) / 2, (high - low) / math.sqrt(12))
        )
    return _describe_sensor(sensor, image_size, dtype, bands)


def _describe_band(
    band: Band,
    quantiles: Sequence[float],
    mean: float,
    std: float,
    saturated: float = 0.0,
    beyond: float = 0.0,
) -> BandProfile:
    return BandProfile(
        name=band.name,
        wavelength=band.wavelength,
        unit=name_unit(band.scale),
        scale=band.scale,
        offset=band.offset,
        quantiles=tuple(quantiles),
        mean=mean,
        std=std,
        saturated=saturated,
        beyond=beyond,
    )


def _describe_sensor(
    sensor: Sensor, image_size: tuple[int, int], dtype: str, bands: Sequence[BandProfile]
) -> DataProfile:
    return DataProfile(
        sensor=sensor.name,
        resolution=sensor.resolution,
        image_size=image_size,
        dtype=dtype,
        images=0,
        pixels=0,
        is_sample=False,
        nodata=0.0,
        bands=tuple(bands),
        correlation=(),
    )
