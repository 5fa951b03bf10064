"""A cheap summary of images that come in: the statistics of a few thousand of their pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_pipelines.profiles.profile import PERCENTS

__all__ = ["COLLAR", "Observation", "observe"]

# Share of blank pixels that is told.
COLLAR = 0.05
# The largest numbers of uint8, int16 and uint16, also where they are stored as another dtype.
_LARGEST = (255, 32767, 65535)
# Pixels that the statistics are computed from, evenly spread: their errors are a tenth of what
# images of one sensor differ by, and the cost is a few tenths of a millisecond.
_PIXELS = 2048
_RANKS = np.array(PERCENTS) / 100


@dataclass(frozen=True)
class Observation:
    """What a sample of pixels of some images is like.

    Pixels that are not finite, 0 in all bands or, where there are many, at the largest number in
    all bands are counted and left out of the statistics.

    Attributes:
        dtype: Dtype of the images.
        images: Number of images.
        pixels: (bands, sampled) float64, the sample.
        not_finite: Share of values that are NaN or infinite, of all images.
        nodata: Share of sampled pixels that are 0 in all bands.
        saturated: Share of sampled pixels that are the largest number of an integer in all bands.
    """

    dtype: np.dtype
    images: int
    pixels: np.ndarray
    not_finite: float
    nodata: float
    saturated: float

    @cached_property
    def sorted(self) -> np.ndarray:
        """The values of each band in ascending order, (bands, sampled)."""
        return np.sort(self.pixels, axis=1)

    @property
    def lowest(self) -> np.ndarray:
        """The smallest value of each band, (bands,)."""
        return self.sorted[:, 0]

    @property
    def highest(self) -> np.ndarray:
        """The largest value of each band, (bands,)."""
        return self.sorted[:, -1]

    @cached_property
    def quantiles(self) -> np.ndarray:
        """The values at `PERCENTS`, (quantiles, bands)."""
        ranks = np.ceil(_RANKS * self.pixels.shape[1]).astype(int) - 1
        return self.sorted[:, ranks].T

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean of each band, (bands,)."""
        return self.pixels.mean(axis=1)

    @cached_property
    def covariance(self) -> np.ndarray:
        """The covariance of the bands, (bands, bands)."""
        centred = self.pixels - self.mean[:, None]
        return centred @ centred.T / self.pixels.shape[1]

    @property
    def is_blank(self) -> bool:
        """Whether there is no pixel with data, or all are the same."""
        return bool((self.lowest == self.highest).all())

    @cached_property
    def are_integers(self) -> bool:
        """Whether all values are whole numbers, and none is negative."""
        is_whole = self.dtype.kind == "u" or (self.pixels == np.round(self.pixels)).all()
        return bool(is_whole and self.lowest.min() >= 0)

    def share_from(self, limit: np.ndarray | float) -> np.ndarray:
        """Return the share of each band's values that are `limit` or more, (bands,)."""
        limits = np.broadcast_to(limit, len(self.sorted))
        below = [band.searchsorted(end) for band, end in zip(self.sorted, limits, strict=True)]
        return 1 - np.array(below) / self.pixels.shape[1]


def observe(images: np.ndarray | Sequence[np.ndarray]) -> Observation:
    """Summarise images.

    Args:
        images: (B, H, W, bands), or a list of (H, W, bands), of real numbers.
    """
    if isinstance(images, np.ndarray):
        count, pixels = len(images), _sample(images, _PIXELS)
        dtype, not_finite = images.dtype, _share_not_finite(images)
    else:
        count, dtype = len(images), np.result_type(*images)
        each = max(16, _PIXELS // count)
        pixels = np.concatenate([_sample(image, each) for image in images])
        not_finite = float(np.mean([_share_not_finite(image) for image in images]))
    bands = np.ascontiguousarray(pixels.T, np.float64)
    bands = bands[:, np.isfinite(bands).all(axis=0)] if not_finite else bands
    bands, nodata, saturated = _leave_out_collars(bands)
    if not bands.size:
        bands = np.zeros((len(bands), 1))
    return Observation(dtype, count, bands, not_finite, nodata, saturated)


def _leave_out_collars(pixels: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the pixels with data, and the shares of those that are 0 and that are saturated."""
    if not pixels.size:
        return pixels, 0.0, 0.0
    has_data = pixels.any(axis=0)
    nodata = 1.0 - float(has_data.mean())
    largest, saturated = pixels.max(), 0.0
    if largest in _LARGEST:
        is_end = (pixels == largest).all(axis=0)
        saturated = float(is_end.mean())
        if saturated > COLLAR:
            has_data &= ~is_end
    return (pixels if has_data.all() else pixels[:, has_data]), nodata, saturated


def _sample(images: np.ndarray, limit: int) -> np.ndarray:
    """Take about `limit` pixels of (..., width, bands), evenly, as (pixels, bands)."""
    pixels, width = images.reshape(-1, images.shape[-1]), images.shape[-2]
    step = max(1, -(-len(pixels) // limit))
    # A step with a factor in common with the width would take a few columns only.
    while math.gcd(step, width) > 1:
        step += 1
    return pixels[::step]


def _share_not_finite(images: np.ndarray) -> float:
    if images.dtype.kind != "f" or np.isfinite(images.sum(dtype=np.float64)):
        return 0.0
    return 1.0 - float(np.isfinite(images).mean())
