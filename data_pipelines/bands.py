"""Sensors and their bands: names, wavelengths, scales and statistics.

Bands are asked for by name, never by position. Names are the common names of the STAC
electro-optical extension (`red`, `nir`, `swir16`, ...); a sensor's own names (`B04`) are aliases.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_pipelines.errors import UserError

__all__ = [
    "DEMO_AERIAL",
    "DEMO_OBJECTS",
    "DEMO_SCENES",
    "DEMO_TILES",
    "NAIP",
    "PICTURES",
    "POTSDAM",
    "SENTINEL2_L2A",
    "TIANGONG2",
    "Band",
    "Sensor",
]


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


def _camera(
    name: str,
    resolution: float,
    mean: Sequence[float],
    std: Sequence[float],
    scale: float = 1 / 255,
) -> Sensor:
    """A camera of red, green, blue and, where four statistics are given, near infrared."""
    common = (
        ("red", ("R", "B04"), 650.0),
        ("green", ("G", "B03"), 560.0),
        ("blue", ("B", "B02"), 480.0),
        ("nir", ("N", "NIR", "IR", "B08"), 840.0),
    )
    bands = tuple(
        Band(band, aliases, wavelength, scale, 0.0, float(band_mean), float(band_std))
        for (band, aliases, wavelength), band_mean, band_std in zip(common, mean, std, strict=False)
    )
    return Sensor(name, resolution, bands)


def _sentinel2(
    name: str, aliases: Sequence[str], wavelength: float, mean: float, std: float
) -> Band:
    return Band(name, tuple(aliases), wavelength, 1e-4, 0.0, mean, std)


# Wavelengths: ESA, Sentinel-2A spectral responses. Statistics: the 590,326 patches of BigEarthNet
# v1, whose products precede baseline 04.00 and so have no offset.
SENTINEL2_L2A = Sensor(
    "sentinel2_l2a",
    10.0,
    (
        _sentinel2("coastal", ("B01",), 442.7, 340.77, 554.81),
        _sentinel2("blue", ("B", "B02"), 492.4, 429.94, 572.42),
        _sentinel2("green", ("G", "B03"), 559.8, 614.22, 582.88),
        _sentinel2("red", ("R", "B04"), 664.6, 590.24, 675.89),
        _sentinel2("rededge1", ("B05", "rededge071"), 704.1, 950.68, 729.90),
        _sentinel2("rededge2", ("B06", "rededge075"), 740.5, 1792.46, 1096.01),
        _sentinel2("rededge3", ("B07", "rededge078"), 782.8, 2075.47, 1273.45),
        _sentinel2("nir", ("N", "NIR", "B08"), 832.8, 2218.95, 1365.46),
        _sentinel2("nir08", ("B8A",), 864.7, 2266.46, 1356.14),
        _sentinel2("nir09", ("B09",), 945.1, 2246.06, 1302.33),
        _sentinel2("swir16", ("B11",), 1613.7, 1594.43, 1079.19),
        _sentinel2("swir22", ("B12",), 2202.4, 1009.33, 818.87),
    ),
)
# Statistics of eight dates of one tile in North Dakota.
NAIP = _camera("naip", 1.0, (100.1, 113.2, 91.4, 137.7), (38.2, 29.9, 26.8, 64.8))
# No statistics are published of these two: `data_pipelines.build` measures the user's copy.
POTSDAM = _camera("potsdam", 0.05, (0.0,) * 4, (0.0,) * 4)
TIANGONG2 = _camera("tiangong2", 100.0, (0.0,) * 4, (0.0,) * 4)
# The demo builders' worlds (data_pipelines/demo), measured on their default configs.
DEMO_TILES = _camera("demo_tiles", 10.0, (2218, 2238, 2147, 3119), (2121, 2081, 2181, 1988), 1e-4)
DEMO_SCENES = _camera(
    "demo_scenes", 100.0, (2296, 2290, 2185, 3210), (2116, 2040, 2171, 1911), 1e-4
)
DEMO_AERIAL = _camera("demo_aerial", 0.05, (70.3, 73.5, 66.3, 115.5), (49.9, 42.2, 45.4, 56.1))
# ImageNet's statistics, as torchvision has them: 8-bit pictures that say nothing of their camera.
PICTURES = _camera("pictures", 0.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
DEMO_OBJECTS = _camera("demo_objects", 0.0, (119.4, 121.6, 119.7), (66.9, 66.7, 67.4))
