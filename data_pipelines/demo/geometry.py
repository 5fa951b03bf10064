"""Random fields, coordinates and curves on an n × n grid, to draw landscapes with.

All lengths are in pixels, and all fields are (n, n) float32.
"""

from functools import lru_cache

import numpy as np
from numpy.random import Generator

__all__ = ["axes", "fractal", "meander", "smoothstep"]


def fractal(rng: Generator, size: int, roughness: float, blobs: float = 1.0) -> np.ndarray:
    """Draw a fractal random field with zero mean and unit variance, similar to relief or clouds.

    Its amplitude falls with the spatial frequency f as (f² + blobs²)^(-roughness / 2).

    Args:
        rng: Random generator.
        size: Height and width n of the field in pixels.
        roughness: From 1 (rough) to 3 (smooth).
        blobs: Approximate number of large features across the field.

    Returns:
        (n, n) float32.
    """
    spectrum = rng.standard_normal((2, size, size // 2 + 1), dtype=np.float32)
    waves = (spectrum[0] + 1j * spectrum[1]) * _amplitude(size, roughness, round(blobs, 1))
    field = np.fft.irfft2(waves, s=(size, size)).astype(np.float32)  # has zero mean
    return field / np.sqrt(np.mean(field * field))


@lru_cache(maxsize=256)
def _amplitude(size: int, roughness: float, blobs: float) -> np.ndarray:
    rows, columns = np.fft.fftfreq(size, 1 / size), np.fft.rfftfreq(size, 1 / size)
    squared = rows[:, None] ** 2 + columns**2
    amplitude = (squared + blobs**2) ** (-roughness / 2)
    amplitude[0, 0] = 0
    return amplitude.astype(np.float32)


def axes(rng: Generator, size: int, angle: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Compute coordinates along and across a direction, with a random origin near the centre.

    Args:
        rng: Random generator.
        size: Height and width n of the grid in pixels.
        angle: The direction in radians. Default: a random direction.

    Returns:
        Two (n, n) float32 fields, the coordinates along and across the direction in pixels.
    """
    angle = rng.uniform(0, 2 * np.pi) if angle is None else angle
    row, column = np.indices((size, size), dtype=np.float32) - size / 2
    row += rng.uniform(-0.15, 0.15) * size
    column += rng.uniform(-0.15, 0.15) * size
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * column + sin * row, cos * row - sin * column


def meander(rng: Generator, along: np.ndarray, swing: float, bends: float) -> np.ndarray:
    """Draw a meandering line, a sum of sine waves of decreasing amplitude.

    Args:
        rng: Random generator.
        along: (n, n) coordinate along the line.
        swing: Scale of the line's lateral displacement in pixels.
        bends: Number of large bends per grid width.

    Returns:
        (n, n) float32, the line's lateral displacement at each `along`, in pixels.
    """
    size = along.shape[0]
    position = np.linspace(-1.0, 1.0, 4 * size, dtype=np.float32)
    wave = np.arange(1, 6)
    frequency = bends * wave * rng.uniform(0.75, 1.25, 5)
    phase = rng.uniform(0, 2 * np.pi, 5)
    height = rng.normal(size=5) / wave**1.3
    line = np.sin(2 * np.pi * np.outer(position, frequency) + phase) @ height
    return np.interp(along, position * size, swing * line).astype(np.float32)


def smoothstep(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map a field smoothly to 0..1: 0 below `low`, 1 above `high`."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
