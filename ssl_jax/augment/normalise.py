"""Conversion of a sensor's digital numbers to the values that augmentations and networks use.

    digital number (uint8, uint16) -unit-> reflectance 0..1 -standardise-> mean 0, variance 1

Augmentations work on unit values, for which multiplying the brightness and clipping are meaningful.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from data_pipelines.bands import Sensor


@dataclass(frozen=True)
class Normalisation:
    """Normalisation of each band: digital number (DN) -> unit value -> standardised value.

    Attributes:
        scale: Scale of each band, in physical value = DN * scale + offset.
        offset: Offset of each band.
        mean: Mean of each band, in digital numbers.
        std: Standard deviation of each band, in digital numbers.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_sensor(cls, sensor: Sensor) -> Normalisation:
        """Create the normalisation of images with the sensor's bands, in the sensor's order."""
        columns = ("scale", "offset", "mean", "std")
        return cls(*(tuple(float(getattr(b, c)) for b in sensor.bands) for c in columns))

    def __call__(self, image: Array) -> Array:
        """Convert digital numbers (..., C) to standardised values (..., C) float32."""
        return self.standardise(self.unit(image))

    def unit(self, image: Array) -> Array:
        """Convert digital numbers to unit values.

        Args:
            image: Digital numbers, (..., C).

        Returns:
            Reflectance or fraction of the full scale, clipped to 0..1, (..., C) float32.
        """
        scale, offset = np.asarray([self.scale, self.offset], np.float32)
        return jnp.clip(image.astype(jnp.float32) * scale + offset, 0.0, 1.0)

    def standardise(self, unit: Array) -> Array:
        """Scale unit values (..., C) to mean 0 and variance 1 under the sensor's statistics."""
        mean, std = self._unit_moments()
        return (unit - mean) / std

    def restore(self, standardised: Array) -> Array:
        """Convert standardised values (..., C) back to unit values, as for display.

        This is the inverse of `standardise`; the result is not clipped.
        """
        mean, std = self._unit_moments()
        return standardised * std + mean

    @property
    def unit_mean(self) -> tuple[float, ...]:
        """The mean of each band in unit values."""
        return tuple(self._unit_moments()[0].tolist())

    def _unit_moments(self) -> np.ndarray:
        """Return mean and standard deviation of the unit values, (2, C) float32."""
        scale, offset, mean, std = np.asarray([self.scale, self.offset, self.mean, self.std])
        return np.asarray([mean * scale + offset, std * scale], np.float32)
