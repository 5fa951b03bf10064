"""A band and a sensor: names, wavelengths, scales and statistics of digital numbers."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["Band", "Sensor"]


@dataclass(frozen=True)
class Band:
    """One spectral band.

    The physical value (reflectance, or the share of full scale for uncalibrated cameras) is
    `digital number * scale + offset`.

    Attributes:
        name: STAC common name.
        aliases: other names it goes by.
        wavelength: centre, in nanometres.
        scale: physical units per digital number.
        offset: physical value of digital number 0.
        mean: mean of the digital numbers.
        std: standard deviation of the digital numbers; 0 where nobody has measured it yet.
    """

    name: str
    aliases: tuple[str, ...]
    wavelength: float
    scale: float
    offset: float
    mean: float
    std: float

    def answers_to(self, name: str) -> bool:
        """Whether `name` is this band's name or one of its aliases, in any case."""
        return name.casefold() in (known.casefold() for known in (self.name, *self.aliases))


@dataclass(frozen=True)
class Sensor:
    """What took the image: the bands in the order of the image's last axis.

    Attributes:
        name: such as `sentinel2_l2a`.
        resolution: ground sampling distance, in metres; 0 for pictures that have none.
        bands: in the order of the channels.
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
        """The same sensor with other statistics of its bands' digital numbers."""
        # A band without contrast is still a band: normalising by 1 leaves it at zero.
        bands = tuple(
            dataclasses.replace(band, mean=float(m), std=float(s) or 1.0)
            for band, m, s in zip(self.bands, mean, std, strict=True)
        )
        return dataclasses.replace(self, bands=bands)

    def with_scale(self, scale: float) -> "Sensor":
        """The same sensor with digital numbers of another scale, in physical units per number.

        A band that had another scale is unmeasured then: its statistics were of other numbers.
        """
        bands = tuple(
            band
            if band.scale == scale
            else dataclasses.replace(band, scale=scale, mean=0.0, std=0.0)
            for band in self.bands
        )
        return dataclasses.replace(self, bands=bands)

    def indices(self, names: Sequence[str]) -> tuple[int, ...]:
        """Channels of the bands asked for, by name or alias.

        Raises:
            UserError: the sensor lacks one of them.
        """
        return tuple(self._index(name) for name in names)

    def select(self, names: Sequence[str]) -> "Sensor":
        """The same sensor with only the bands asked for, in the order asked.

        Raises:
            UserError: the sensor lacks one of them, or one is asked for twice.
        """
        indices = self.indices(names)
        if len(set(indices)) < len(indices):
            raise UserError(
                f"bands {', '.join(names)}: one band of sensor {self.name} is named twice; "
                "expected each once"
            )
        return dataclasses.replace(self, bands=tuple(self.bands[index] for index in indices))

    def _index(self, name: str) -> int:
        for index, band in enumerate(self.bands):
            if band.answers_to(name):
                return index
        raise UserError(
            f"band {name!r}: sensor {self.name} does not have it; it has {', '.join(self.names)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The sensor as JSON can hold it."""
        return {
            "name": self.name,
            "resolution": self.resolution,
            "bands": [
                {**dataclasses.asdict(band), "aliases": list(band.aliases)} for band in self.bands
            ],
        }

    @classmethod
    def from_dict(cls, sensor: Mapping[str, Any]) -> "Sensor":
        """The sensor that `to_dict` wrote.

        Raises:
            UserError: a field is missing or unknown.
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
