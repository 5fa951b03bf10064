"""From the digital numbers of a sensor to what augmentation and networks work on.

    digital number (uint8, uint16) -unit-> reflectance 0..1 -standardise-> mean 0, variance 1

Augmentation happens on the unit values, where brightness is a product and clipping means something.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipelines.bands import Sensor


@dataclass(frozen=True)
class Normalisation:
    """Per band: physical value = DN * scale + offset; `mean` and `std` are in digital numbers."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_sensor(cls, sensor: Sensor) -> Normalisation:
        """The normalisation for images with the sensor's bands, in the sensor's order."""
        columns = ("scale", "offset", "mean", "std")
        return cls(*(tuple(float(getattr(b, c)) for b in sensor.bands) for c in columns))

    def __call__(self, image: Array) -> Array:
        """Digital numbers (..., C) -> standardised float32 (..., C)."""
        return self.standardise(self.unit(image))

    def unit(self, image: Array) -> Array:
        """Digital numbers (..., C) -> float32 reflectance or share of full scale, cut to 0..1."""
        scale, offset = np.asarray([self.scale, self.offset], np.float32)
        return jnp.clip(image.astype(jnp.float32) * scale + offset, 0.0, 1.0)

    def standardise(self, unit: Array) -> Array:
        """Unit values (..., C) -> zero mean and unit variance under the sensor's statistics."""
        mean, std = self._unit_moments()
        return (unit - mean) / std

    def restore(self, standardised: Array) -> Array:
        """The inverse of `standardise`: back to unit values (..., C), for pictures."""
        mean, std = self._unit_moments()
        return standardised * std + mean

    @property
    def unit_mean(self) -> tuple[float, ...]:
        """The mean of each band in unit values."""
        return tuple(self._unit_moments()[0].tolist())

    def _unit_moments(self) -> np.ndarray:
        """Mean and standard deviation of the unit values, (2, C) float32."""
        scale, offset, mean, std = np.asarray([self.scale, self.offset, self.mean, self.std])
        return np.asarray([mean * scale + offset, std * scale], np.float32)
