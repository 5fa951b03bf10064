"""Bands and sensors: names, wavelengths, scales and statistics of digital numbers."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["Band", "Sensor"]


@dataclass(frozen=True)
class Band:
    """One spectral band.

    The physical value (reflectance, or the fraction of full scale for uncalibrated cameras) is
    `digital number * scale + offset`.

    Attributes:
        name: STAC common name.
        aliases: Alternative names.
        wavelength: Centre wavelength, in nanometres.
        scale: Physical units per digital number.
        offset: Physical value of digital number 0.
        mean: Mean of the digital numbers.
        std: Standard deviation of the digital numbers; 0 if it has not been measured yet.
    """

    name: str
    aliases: tuple[str, ...]
    wavelength: float
    scale: float
    offset: float
    mean: float
    std: float

    def has_name(self, name: str) -> bool:
        """Return whether `name` is this band's name or one of its aliases, ignoring case."""
        return name.casefold() in (alias.casefold() for alias in (self.name, *self.aliases))


@dataclass(frozen=True)
class Sensor:
    """The instrument that took an image, with its bands in the order of the image's last axis.

    Attributes:
        name: Name of the sensor, such as `sentinel2_l2a`.
        resolution: Ground sampling distance, in metres; 0 for images without one.
        bands: Bands in the order of the channels.
    """

    name: str
    resolution: float
    bands: tuple[Band, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The bands' names, in order."""
        return tuple(band.name for band in self.bands)

    @property
    def measured(self) -> bool:
        """Whether the statistics of all bands are known."""
        return all(band.std > 0 for band in self.bands)

    def with_statistics(self, mean: Sequence[float], std: Sequence[float]) -> "Sensor":
        """Return a copy of the sensor with other statistics.

        Args:
            mean: Mean of each band's digital numbers.
            std: Standard deviation of each band's digital numbers; 0 is replaced by 1.
        """
        # A band may be constant: dividing by 1 normalises it to zero.
        bands = tuple(
            dataclasses.replace(band, mean=float(m), std=float(s) or 1.0)
            for band, m, s in zip(self.bands, mean, std, strict=True)
        )
        return dataclasses.replace(self, bands=bands)

    def with_scale(self, scale: float) -> "Sensor":
        """Return a copy of the sensor with another scale.

        Bands whose scale changes lose their statistics, which were measured at the old scale.

        Args:
            scale: Physical units per digital number.
        """
        bands = tuple(
            band
            if band.scale == scale
            else dataclasses.replace(band, scale=scale, mean=0.0, std=0.0)
            for band in self.bands
        )
        return dataclasses.replace(self, bands=bands)

    def indices(self, names: Sequence[str]) -> tuple[int, ...]:
        """Return the channel indices of bands, given by name or alias.

        Raises:
            UserError: If the sensor lacks one of them.
        """
        return tuple(self._index(name) for name in names)

    def select(self, names: Sequence[str]) -> "Sensor":
        """Return a copy of the sensor with only the given bands, in the given order.

        Args:
            names: Names or aliases of bands.

        Raises:
            UserError: If the sensor lacks one of them, or one is given twice.
        """
        indices = self.indices(names)
        if len(set(indices)) < len(indices):
            raise UserError(
                f"bands {', '.join(names)}: one band of sensor {self.name} is named twice; "
                "expected each band once"
            )
        return dataclasses.replace(self, bands=tuple(self.bands[index] for index in indices))

    def _index(self, name: str) -> int:
        for index, band in enumerate(self.bands):
            if band.has_name(name):
                return index
        raise UserError(
            f"band {name!r}: sensor {self.name} does not have it; it has {', '.join(self.names)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the sensor as a JSON-serialisable dictionary."""
        return {
            "name": self.name,
            "resolution": self.resolution,
            "bands": [
                {**dataclasses.asdict(band), "aliases": list(band.aliases)} for band in self.bands
            ],
        }

    @classmethod
    def from_dict(cls, sensor: Mapping[str, Any]) -> "Sensor":
        """Create a sensor from the dictionary that `to_dict` returns.

        Raises:
            UserError: If a field is missing or unknown.
        """
        try:
            bands = tuple(
                Band(**{**band, "aliases": tuple(band["aliases"])}) for band in sensor["bands"]
            )
            return cls(name=sensor["name"], resolution=float(sensor["resolution"]), bands=bands)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"sensor: found {error} in its description; expected name, resolution and bands "
                "with name, aliases, wavelength, scale, offset, mean and std"
            ) from error
