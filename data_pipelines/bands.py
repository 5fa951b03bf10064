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
    "COMMON_BANDS",
    "DEMO_AERIAL",
    "DEMO_OBJECTS",
    "DEMO_SCENES",
    "DEMO_TILES",
    "NAIP",
    "PICTURES",
    "POTSDAM",
    "SENSORS",
    "SENTINEL2_L1C",
    "SENTINEL2_L2A",
    "SENTINEL2_RGB",
    "TIANGONG2",
    "Band",
    "Sensor",
    "sensor_of",
    "usual_bands",
    "usual_scale",
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


# Sentinel-2's bands, by its own names. Wavelengths: ESA, Sentinel-2A spectral responses.
_SENTINEL2 = {
    "B01": ("coastal", ("B01",), 442.7),
    "B02": ("blue", ("B", "B02"), 492.4),
    "B03": ("green", ("G", "B03"), 559.8),
    "B04": ("red", ("R", "B04"), 664.6),
    "B05": ("rededge1", ("B05", "rededge071"), 704.1),
    "B06": ("rededge2", ("B06", "rededge075"), 740.5),
    "B07": ("rededge3", ("B07", "rededge078"), 782.8),
    "B08": ("nir", ("N", "NIR", "B08"), 832.8),
    "B8A": ("nir08", ("B8A",), 864.7),
    "B09": ("nir09", ("B09",), 945.1),
    "B10": ("cirrus", ("B10",), 1373.5),
    "B11": ("swir16", ("B11",), 1613.7),
    "B12": ("swir22", ("B12",), 2202.4),
}


def _sentinel2(name: str, statistics: Mapping[str, tuple[float, float]]) -> Sensor:
    """The bands of which a mean and a standard deviation are given."""
    bands = tuple(
        Band(*_SENTINEL2[own], 1e-4, 0.0, mean, std) for own, (mean, std) in statistics.items()
    )
    return Sensor(name, 10.0, bands)


# Statistics: the 590,326 patches of BigEarthNet v1, whose products precede baseline 04.00 and so
# have no offset.
SENTINEL2_L2A = _sentinel2(
    "sentinel2_l2a",
    {
        "B01": (340.77, 554.81),
        "B02": (429.94, 572.42),
        "B03": (614.22, 582.88),
        "B04": (590.24, 675.89),
        "B05": (950.68, 729.90),
        "B06": (1792.46, 1096.01),
        "B07": (2075.47, 1273.45),
        "B08": (2218.95, 1365.46),
        "B8A": (2266.46, 1356.14),
        "B09": (2246.06, 1302.33),
        "B11": (1594.43, 1079.19),
        "B12": (1009.33, 818.87),
    },
)
# Statistics: EuroSAT, as torchgeo's EuroSATDataModule has them, in the order of its files: there
# B8A is the last band.
SENTINEL2_L1C = _sentinel2(
    "sentinel2_l1c",
    {
        "B01": (1354.41, 245.72),
        "B02": (1118.24, 333.01),
        "B03": (1042.93, 395.09),
        "B04": (947.63, 593.75),
        "B05": (1199.47, 566.42),
        "B06": (1999.79, 861.18),
        "B07": (2369.22, 1086.63),
        "B08": (2296.83, 1117.98),
        "B8A": (2594.14, 1231.59),
        "B09": (732.08, 404.92),
        "B10": (12.11, 4.78),
        "B11": (1819.01, 1002.59),
        "B12": (1118.92, 761.30),
    },
)
# Pictures made of Sentinel-2's visible bands, stretched to 8 bits for the eye: no reflectances.
SENTINEL2_RGB = _camera("sentinel2_rgb", 10.0, (0.0,) * 3, (0.0,) * 3)
# Statistics of eight dates of one tile in North Dakota.
NAIP = _camera("naip", 1.0, (100.1, 113.2, 91.4, 137.7), (38.2, 29.9, 26.8, 64.8))
# Of these two, as of the pictures above, no statistics are published: `data_pipelines.build`
# measures the user's copy.
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

SENSORS = {
    sensor.name: sensor
    for sensor in (
        SENTINEL2_L2A,
        SENTINEL2_L1C,
        SENTINEL2_RGB,
        NAIP,
        POTSDAM,
        TIANGONG2,
        PICTURES,
    )
}

# Every band that has a common name, of no sensor in particular. Wavelengths: the middles of the
# ranges that the STAC extension gives, but for the cameras' four and Sentinel-2's narrow ones.
COMMON_BANDS = Sensor(
    "common_bands",
    0.0,
    tuple(
        Band(name, aliases, wavelength, 1e-4, 0.0, 0.0, 0.0)
        for name, aliases, wavelength in (
            ("coastal", (), 443.0),
            ("blue", ("B",), 480.0),
            ("green", ("G",), 560.0),
            ("yellow", (), 600.0),
            ("pan", (), 600.0),
            ("red", ("R",), 650.0),
            ("rededge1", ("rededge071",), 704.0),
            ("rededge2", ("rededge075",), 740.0),
            ("rededge", (), 745.0),
            ("rededge3", ("rededge078",), 783.0),
            ("nir", ("N", "NIR", "IR"), 840.0),
            ("nir08", (), 865.0),
            ("nir09", (), 945.0),
            ("cirrus", (), 1375.0),
            ("swir16", (), 1650.0),
            ("swir22", (), 2200.0),
            ("lwir11", (), 11000.0),
            ("lwir", (), 11500.0),
            ("lwir12", (), 12000.0),
        )
    ),
)

_USUAL_BANDS = {3: ("red", "green", "blue"), 4: ("red", "green", "blue", "nir")}
# Shares of full scale, and the ten-thousandths that reflectances are stored in.
_SCALES = {"uint8": 1 / 255, "uint16": 1e-4}


def usual_bands(file: object, count: int) -> tuple[str, ...]:
    """What a file of so many bands holds, if nobody says otherwise.

    Raises:
        UserError: nobody can tell.
    """
    if count not in _USUAL_BANDS:
        raise UserError(
            f"file {file}: number of bands is {count}; expected 3 or 4, or --config.bands=… with "
            "their names in the file's order"
        )
    return _USUAL_BANDS[count]


def sensor_of(
    name: str, bands: Sequence[str], resolution: float, scale: float, known: str = ""
) -> Sensor:
    """The sensor of a user's own files.

    Args:
        name: for a sensor of its own, which is unmeasured.
        bands: of the files, in their order: names of the known sensor's, else common names.
        resolution: ground sampling distance in metres; 0 for the known sensor's.
        scale: physical units per digital number.
        known: the name of one of `SENSORS` instead.

    Raises:
        UserError: there is no such sensor or band.
    """
    if known and known not in SENSORS:
        raise UserError(
            f"--config.sensor: found {known!r}; expected one of {', '.join(SENSORS)}, or none"
        )
    sensor = SENSORS[known] if known else COMMON_BANDS
    return dataclasses.replace(
        sensor.select(bands).with_scale(scale),
        name=known or name,
        resolution=resolution or sensor.resolution,
    )


def usual_scale(dtype: str) -> float:
    """Physical units per digital number, as files of this dtype have it for the most part.

    Raises:
        UserError: it is neither uint8 nor uint16.
    """
    if dtype not in _SCALES:
        raise UserError(f"--config.dtype: found {dtype!r}; expected {' or '.join(_SCALES)}")
    return _SCALES[dtype]
