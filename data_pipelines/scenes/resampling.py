"""Resampling of a raster to another size: bilinear where it grows, by area where it shrinks.

GDAL's resampled reads depend on the window. Here each pixel is computed from the same numbers in
the same order whatever window it is read in, so that windows fit together to the bit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_pipelines.imagery.pixels import RawPixels

__all__ = ["Read", "resample"]

# (top, left, height, width) -> the pixels of a window
Read = Callable[[int, int, int, int], RawPixels]
# Limit on the pixels of the source that are in memory at once.
_CHUNK = 2**22


def resample(
    read: Read, source: tuple[int, int], target: tuple[int, int], window: tuple[int, int, int, int]
) -> RawPixels:
    """Read a window of an image at another size.

    Numbers that are missing, or no-data values, have no weight; a number is missing where they have
    more than half of it.

    Args:
        read: Reads a window of the image at its own size.
        source: Its height and width.
        target: Height and width to which it is resampled.
        window: Top, left, height and width of the window, in pixels of the target.
    """
    top, left, height, width = window
    rows, columns = (_Axis(*sizes) for sizes in zip(source, target, strict=True))
    first, last = columns.reach(left, width)
    reach_per_row = max(1.0, source[0] / target[0]) * (last - first)
    step = max(1, min(height, int(_CHUNK / reach_per_row)))
    parts = []
    for start in range(top, top + height, step):
        count = min(step, top + height - start)
        upper, lower = rows.reach(start, count)
        raw = read(upper, first, lower - upper, last - first)

        def to_target(
            values: np.ndarray, start: int = start, count: int = count, upper: int = upper
        ) -> np.ndarray:
            values = rows.interpolate(values, 1, start, count, upper)
            return columns.interpolate(values, 2, left, width, first)

        parts.append(_interpolate(raw, to_target))
    return RawPixels(*(np.concatenate(planes, axis=1) for planes in zip(*parts, strict=True)))


def _interpolate(raw: RawPixels, to_target: Callable[[np.ndarray], np.ndarray]) -> RawPixels:
    dtype = raw.numbers.dtype
    precise = np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
    is_absent = raw.is_missing | raw.is_background
    if not is_absent.any():
        values = to_target(raw.numbers.astype(precise))
        planes = np.zeros((2, *values.shape), bool)
        return RawPixels(_round(values, dtype), *planes)
    present = (~is_absent).astype(precise)
    weight = to_target(present)
    values = to_target(np.where(is_absent, 0, raw.numbers).astype(precise))
    is_missing = to_target(raw.is_missing.astype(np.float32))
    is_background = to_target(raw.is_background.astype(np.float32))
    is_gone = weight < 0.5
    values /= np.where(weight > 0, weight, 1)
    return RawPixels(
        _round(values, dtype),
        is_gone & (is_background > is_missing),
        is_gone & (is_background <= is_missing),
    )


def _round(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (np.rint(values) if dtype.kind in "ui" else values).astype(dtype)


@dataclass(frozen=True)
class _Axis:
    """An axis of an image of `source` pixels that is resampled to `target` pixels."""

    source: int
    target: int

    def reach(self, start: int, count: int) -> tuple[int, int]:
        """Return the first pixel and the end of those that target pixels are computed from."""
        indices, _ = self._find_taps(start, count)
        return int(indices.min()), int(indices.max()) + 1

    def interpolate(
        self, values: np.ndarray, axis: int, start: int, count: int, offset: int
    ) -> np.ndarray:
        """Compute target pixels along an axis.

        Args:
            values: Pixels of the source from `offset` on.
            axis: The axis.
            start: First target pixel.
            count: Number of target pixels.
            offset: First pixel of `values`.
        """
        if self.source == self.target:
            return values
        shape = [1] * values.ndim
        shape[axis] = count
        indices, weights = self._find_taps(start, count)
        total: np.ndarray | None = None
        for index, weight in zip(indices - offset, weights.astype(values.dtype), strict=True):
            part = np.take(values, index, axis=axis) * weight.reshape(shape)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total

    def _find_taps(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return indices and weights, (taps, count) each, of the pixels of the source."""
        positions = np.arange(start, start + count, dtype=np.float64)
        ratio, end = self.source / self.target, self.source - 1
        if self.source == self.target:
            return np.arange(start, start + count)[None], np.ones((1, count))
        if ratio < 1:
            centres = np.clip((positions + 0.5) * ratio - 0.5, 0, end)
            low = np.floor(centres).astype(int)
            part = centres - low
            return np.stack([low, np.minimum(low + 1, end)]), np.stack([1 - part, part])
        first = np.floor(positions * ratio).astype(int)
        pixels = first + np.arange(math.ceil(ratio) + 1)[:, None]
        covered = np.minimum(pixels + 1, (positions + 1) * ratio) - np.maximum(
            pixels, positions * ratio
        )
        return np.minimum(pixels, end), np.maximum(covered, 0) / ratio
