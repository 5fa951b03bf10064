"""Sensors of a user's own files: their bands and scale, as specified or by default."""

import dataclasses
from collections.abc import Sequence

from data_pipelines.bands.band import Band, Sensor
from data_pipelines.bands.sensors import SENSORS
from data_pipelines.errors import UserError

__all__ = ["COMMON_BANDS", "default_bands", "default_scale", "make_sensor"]

# All bands with a common name, not those of a particular sensor. Wavelengths: the centres of the
# ranges in the STAC extension, except the cameras' four bands and Sentinel-2's narrow ones.
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

_DEFAULT_BANDS = {3: ("red", "green", "blue"), 4: ("red", "green", "blue", "nir")}
# uint8: fractions of full scale; uint16: reflectances stored in units of 1/10000.
_DEFAULT_SCALES = {"uint8": 1 / 255, "uint16": 1e-4}


def default_bands(file: object, count: int) -> tuple[str, ...]:
    """Return the default names of a file's bands.

    Args:
        file: The file, for error messages.
        count: Number of bands in the file.

    Raises:
        UserError: If there is no default for this number of bands.
    """
    if count not in _DEFAULT_BANDS:
        raise UserError(
            f"file {file}: number of bands is {count}; expected 3 or 4, or --config.bands=… with "
            "the bands' names in the file's order"
        )
    return _DEFAULT_BANDS[count]


def make_sensor(
    name: str,
    bands: Sequence[str],
    resolution: float,
    scale: float,
    known_sensor: str | Sensor = "",
) -> Sensor:
    """Create the sensor of a user's own files.

    Args:
        name: Name of the new sensor, which has no statistics; unused with `known_sensor`.
        bands: Names of the files' bands, in their order: the known sensor's names, or common names.
        resolution: Ground sampling distance, in metres; 0 for the known sensor's.
        scale: Physical units per digital number.
        known_sensor: The sensor that took the images, or its name in `SENSORS`; empty for a new
            one.

    Raises:
        UserError: If there is no such sensor or band.
    """
    if isinstance(known_sensor, Sensor):
        sensor = known_sensor.select(bands).with_scale(scale)
        return dataclasses.replace(sensor, resolution=resolution or sensor.resolution)
    if known_sensor and known_sensor not in SENSORS:
        raise UserError(
            f"--config.sensor: found {known_sensor!r}; expected one of {', '.join(SENSORS)}, "
            "or none"
        )
    sensor = SENSORS[known_sensor] if known_sensor else COMMON_BANDS
    return dataclasses.replace(
        sensor.select(bands).with_scale(scale),
        name=known_sensor or name,
        resolution=resolution or sensor.resolution,
    )


def default_scale(dtype: str) -> float:
    """Return the default scale of files of a dtype, in physical units per digital number.

    Args:
        dtype: `uint8` or `uint16`.

    Raises:
        UserError: If the dtype is another one.
    """
    if dtype not in _DEFAULT_SCALES:
        raise UserError(f"--config.dtype: found {dtype!r}; expected {' or '.join(_DEFAULT_SCALES)}")
    return _DEFAULT_SCALES[dtype]
