"""Sensors and their bands: names, wavelengths, scales and statistics.

Bands are selected by name, never by index. Names are the common names of the STAC electro-optical
extension (`red`, `nir`, `swir16`, ...); a sensor's own names (`B04`) are aliases. `conversion`
converts the numbers of files to digital numbers of a sensor.
"""

from data_pipelines.bands.band import Band, Sensor
from data_pipelines.bands.files import COMMON_BANDS, default_bands, default_scale, make_sensor
from data_pipelines.bands.names import common_band_name, name_bands
from data_pipelines.bands.sensors import (
    DEMO_AERIAL,
    DEMO_OBJECTS,
    DEMO_SCENES,
    DEMO_TILES,
    NAIP,
    PICTURES,
    POTSDAM,
    SENSORS,
    SENTINEL2_L1C,
    SENTINEL2_L2A,
    SENTINEL2_RGB,
    TIANGONG2,
)

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
    "common_band_name",
    "default_bands",
    "default_scale",
    "make_sensor",
    "name_bands",
]
