"""The predefined sensors, with the published statistics of their images."""

from collections.abc import Mapping, Sequence

from data_pipelines.bands.band import Band, Sensor

__all__ = [
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
]


def _camera(
    name: str,
    resolution: float,
    mean: Sequence[float],
    std: Sequence[float],
    scale: float = 1 / 255,
) -> Sensor:
    """Create a camera of red, green, blue and, if four statistics are given, near infrared."""
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


# Sentinel-2's bands, by their Sentinel-2 names. Wavelengths: ESA, Sentinel-2A spectral responses.
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
    """Create a Sentinel-2 sensor with the bands of {name: (mean, standard deviation)}."""
    bands = tuple(
        Band(*_SENTINEL2[own], 1e-4, 0.0, mean, std) for own, (mean, std) in statistics.items()
    )
    return Sensor(name, 10.0, bands)


# Statistics: the 590,326 patches of BigEarthNet v1, whose products precede baseline 04.00 and
# therefore have no offset.
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
# Statistics: EuroSAT, from torchgeo's EuroSATDataModule, which lists them in the order of EuroSAT's
# files, where B8A is the last band.
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
# Images of Sentinel-2's visible bands, stretched to 8 bits for display: not reflectances.
SENTINEL2_RGB = _camera("sentinel2_rgb", 10.0, (0.0,) * 3, (0.0,) * 3)
# Statistics: eight dates of one tile in North Dakota.
NAIP = _camera("naip", 1.0, (100.1, 113.2, 91.4, 137.7), (38.2, 29.9, 26.8, 64.8))
# No statistics are published for these two, nor for `sentinel2_rgb`: `data_pipelines.build`
# measures the user's copy.
POTSDAM = _camera("potsdam", 0.05, (0.0,) * 4, (0.0,) * 4)
TIANGONG2 = _camera("tiangong2", 100.0, (0.0,) * 4, (0.0,) * 4)
# The demo builders' synthetic scenes (data_pipelines/demo), measured on their default configs.
DEMO_TILES = _camera("demo_tiles", 10.0, (2218, 2238, 2147, 3119), (2121, 2081, 2181, 1988), 1e-4)
DEMO_SCENES = _camera(
    "demo_scenes", 100.0, (2296, 2290, 2185, 3210), (2116, 2040, 2171, 1911), 1e-4
)
DEMO_AERIAL = _camera("demo_aerial", 0.05, (70.3, 73.5, 66.3, 115.5), (49.9, 42.2, 45.4, 56.1))
# ImageNet's statistics, from torchvision: for 8-bit images from an unknown camera.
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
