"""Synthetic images with the spectra of land, and the profile of a set of them."""

import numpy as np

from data_pipelines.bands import NAIP, SENTINEL2_L2A, Sensor
from data_pipelines.profiles.counts import SplitCounts, count_image
from data_pipelines.profiles.measurement import make_profile

RGBN = ("red", "green", "blue", "nir")
SENTINEL2 = SENTINEL2_L2A.select(RGBN)
AERIAL = NAIP.select(RGBN)

# Reflectance of soil, vegetation, roofs and water in red, green, blue and near infrared.
_SPECTRA = np.array(
    [
        [0.130, 0.100, 0.075, 0.210],
        [0.030, 0.055, 0.028, 0.340],
        [0.180, 0.170, 0.160, 0.220],
        [0.022, 0.040, 0.045, 0.015],
    ]
)


def make_images(count: int, dtype: str = "uint16", side: int = 32, seed: int = 0) -> np.ndarray:
    """Make (count, side, side, 4) digital numbers, each image with its own mixture of land."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([1.0, 2.0, 0.7, 0.3], count)
    places = rng.dirichlet([0.4] * 4, (count, side, side)) + shares[:, None, None]
    brightness = rng.normal(1.0, 0.1, (count, side, side, 1)) * rng.normal(
        1, 0.15, (count, 1, 1, 1)
    )
    reflectance = places / 2 @ _SPECTRA * brightness + rng.normal(0, 0.002, (count, side, side, 4))
    numbers = reflectance * 10_000 if dtype == "uint16" else 30 + reflectance * 500
    return numbers.clip(1, np.iinfo(dtype).max).astype(dtype)


def make_image_profile(images: np.ndarray, sensor: Sensor | None = None):
    """Measure the profile of images (B, H, W, bands)."""
    counts = SplitCounts()
    for image in images:
        counts.add(count_image(image))
    sensor = sensor or (SENTINEL2 if images.dtype == np.uint16 else AERIAL)
    return make_profile(sensor, images.shape[1:3], counts)
