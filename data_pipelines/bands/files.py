"""The sensor of a user's own files: what bands and scale they have, as told or as is usual."""

import dataclasses
from collections.abc import Sequence

from data_pipelines.bands.band import Band, Sensor
from data_pipelines.bands.sensors import SENSORS
from data_pipelines.errors import UserError

__all__ = ["COMMON_BANDS", "default_bands", "default_scale", "make_sensor"]

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


def default_bands(file: object, count: int) -> tuple[str, ...]:
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


def make_sensor(
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


def default_scale(dtype: str) -> float:
    """Physical units per digital number, as files of this dtype have it for the most part.

    Raises:
        UserError: it is neither uint8 nor uint16.
    """
    if dtype not in _SCALES:
        raise UserError(f"--config.dtype: found {dtype!r}; expected {' or '.join(_SCALES)}")
    return _SCALES[dtype]
