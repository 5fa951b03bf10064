"""Rendering of land cover as digital numbers: reflectance spectra, relief, atmosphere, sensor.

The reflectances are rounded values from spectral libraries and Sentinel-2 scenes: in the near
infrared, vegetation is bright and water is dark. Four pairs of covers are equal in red, green and
blue and differ only in the near infrared: black water and conifers, young crops and the bare soil
between their rows, artificial turf and grass, green roofs and broad-leaved trees. The members of a
pair belong to the same group, so that they vary together.
"""

from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np
from numpy.random import Generator

from data_pipelines.demo.geometry import fractal

__all__ = ["Cover", "Land", "quantise", "render_reflectance"]


class Cover(IntEnum):
    """Type of land cover."""

    DEEP_WATER = 0
    SHALLOW_WATER = auto()
    TURBID_WATER = auto()
    BLACK_WATER = auto()
    CONIFER = auto()
    BROADLEAF = auto()
    GRASS = auto()
    TURF = auto()
    CROP = auto()
    RIPE_CROP = auto()
    YOUNG_CROP = auto()
    SOIL = auto()
    DARK_SOIL = auto()
    SAND = auto()
    ROCK = auto()
    SNOW = auto()
    SURF = auto()
    ASPHALT = auto()
    PAVING = auto()
    RED_ROOF = auto()
    GREY_ROOF = auto()
    BRIGHT_ROOF = auto()
    GREEN_ROOF = auto()
    DARK_PAINT = auto()
    BRIGHT_PAINT = auto()
    RED_PAINT = auto()
    BLUE_PAINT = auto()
    RUBBLE = auto()


# For each cover: reflectance in red, green, blue and near infrared; group; contrast of the texture.
_SPECTRA: dict[Cover, tuple[float, float, float, float, str, float]] = {
    Cover.DEEP_WATER: (0.022, 0.035, 0.055, 0.012, "water", 0.03),
    Cover.SHALLOW_WATER: (0.075, 0.130, 0.140, 0.030, "water", 0.06),
    Cover.TURBID_WATER: (0.125, 0.115, 0.080, 0.050, "water", 0.04),
    Cover.BLACK_WATER: (0.030, 0.044, 0.026, 0.016, "conifer", 0.16),
    Cover.CONIFER: (0.030, 0.044, 0.026, 0.230, "conifer", 0.16),
    Cover.BROADLEAF: (0.036, 0.066, 0.030, 0.390, "broadleaf", 0.13),
    Cover.GRASS: (0.075, 0.105, 0.052, 0.330, "grass", 0.07),
    Cover.TURF: (0.075, 0.105, 0.052, 0.110, "grass", 0.07),
    Cover.CROP: (0.048, 0.088, 0.040, 0.470, "crop", 0.05),
    Cover.RIPE_CROP: (0.270, 0.215, 0.125, 0.340, "ripe crop", 0.05),
    Cover.YOUNG_CROP: (0.265, 0.205, 0.140, 0.540, "soil", 0.06),
    Cover.SOIL: (0.265, 0.205, 0.140, 0.330, "soil", 0.06),
    Cover.DARK_SOIL: (0.130, 0.100, 0.072, 0.190, "dark soil", 0.07),
    Cover.SAND: (0.390, 0.330, 0.255, 0.450, "sand", 0.04),
    Cover.ROCK: (0.200, 0.185, 0.165, 0.235, "rock", 0.16),
    Cover.SNOW: (0.800, 0.820, 0.840, 0.700, "snow", 0.03),
    Cover.SURF: (0.420, 0.440, 0.450, 0.300, "surf", 0.15),
    Cover.ASPHALT: (0.105, 0.104, 0.102, 0.125, "asphalt", 0.05),
    Cover.PAVING: (0.235, 0.225, 0.210, 0.265, "paving", 0.06),
    Cover.RED_ROOF: (0.270, 0.150, 0.110, 0.320, "red roof", 0.07),
    Cover.GREY_ROOF: (0.170, 0.165, 0.165, 0.190, "grey roof", 0.06),
    Cover.BRIGHT_ROOF: (0.430, 0.420, 0.405, 0.450, "bright roof", 0.05),
    Cover.GREEN_ROOF: (0.036, 0.066, 0.030, 0.075, "broadleaf", 0.06),
    Cover.DARK_PAINT: (0.045, 0.046, 0.050, 0.060, "paint", 0.02),
    Cover.BRIGHT_PAINT: (0.560, 0.560, 0.560, 0.520, "paint", 0.02),
    Cover.RED_PAINT: (0.400, 0.050, 0.045, 0.420, "paint", 0.02),
    Cover.BLUE_PAINT: (0.050, 0.090, 0.300, 0.250, "paint", 0.02),
    Cover.RUBBLE: (0.250, 0.200, 0.160, 0.240, "rubble", 0.30),
}
_REFLECTANCE = np.array([_SPECTRA[cover][:4] for cover in Cover], np.float32)
_CONTRAST = np.array([_SPECTRA[cover][5] for cover in Cover], np.float32)
_GROUP = np.unique([_SPECTRA[cover][4] for cover in Cover], return_inverse=True)[1]

# Standard deviation of the detector noise, in units of reflectance.
_NOISE = 0.004
_CLOUD = np.array((0.74, 0.75, 0.78, 0.76), np.float32)
# Molecules and aerosols scatter short wavelengths most.
_HAZE = np.array((0.16, 0.20, 0.27, 0.09), np.float32)


@dataclass
class Land:
    """A map of land cover, relief and clouds, from which an image is rendered.

    Attributes:
        cover: (n, n) uint8, values of `Cover`.
        tone: (n, n) float32, relative brightness of fields, shadows and other objects; 1 is
            neutral.
        relief: (n, n) float32, height in pixels.
        cloud: (n, n) float32, opacity of the clouds.
    """

    cover: np.ndarray
    tone: np.ndarray
    relief: np.ndarray
    cloud: np.ndarray

    @classmethod
    def make_uniform(cls, size: int, cover: Cover) -> "Land":
        """Create flat land with one cover and no clouds."""
        return cls(
            np.full((size, size), cover, np.uint8),
            np.ones((size, size), np.float32),
            np.zeros((size, size), np.float32),
            np.zeros((size, size), np.float32),
        )

    def set_cover(self, mask: np.ndarray, cover: "Cover | np.ndarray", tone: float = 1.0) -> None:
        """Set the cover and the tone where a mask is true.

        Args:
            mask: (n, n) bool.
            cover: The new cover, or an (n, n) map of it.
            tone: The new tone.
        """
        self.cover[mask] = cover[mask] if isinstance(cover, np.ndarray) else cover
        self.tone[mask] = tone

    def paste(self, mask: np.ndarray, other: "Land") -> None:
        """Copy all attributes of another land where a mask, (n, n) bool, is true."""
        for target, source in ((getattr(self, n), getattr(other, n)) for n in vars(self)):
            target[mask] = source[mask]


def render_reflectance(rng: Generator, land: Land, variation: float = 1.0) -> np.ndarray:
    """Render the reflectance that a sensor measures.

    Args:
        rng: Random generator.
        land: The land to render.
        variation: Strength of the variation between images of the same cover, due to season, soil
            moisture, sunlight and haze.

    Returns:
        (n, n, 4) float32 reflectance in red, green, blue and near infrared, about 0..1.
    """
    size = land.cover.shape[0]
    groups = _GROUP.max() + 1
    brightness = rng.normal(0, 0.16, (groups, 1)) + rng.normal(0, 0.045, (groups, 4))
    spectra = _REFLECTANCE * np.exp(variation * brightness[_GROUP]).astype(np.float32)

    texture = 1 + _CONTRAST[land.cover] * fractal(rng, size, 0.8, size / 8)
    light = texture * land.tone * _render_sunlight(rng, land.relief)
    reflectance = spectra[land.cover]
    reflectance *= light[..., None]

    opacity = land.cloud[..., None]
    if opacity.any():
        reflectance += opacity * (_CLOUD * (1 + 0.06 * light[..., None]) - reflectance)

    haze = variation * rng.beta(1.2, 4.0)
    illumination = float(np.exp(variation * rng.normal(0, 0.18)))
    reflectance *= illumination * (1 - 0.6 * haze)
    reflectance += illumination * haze * _HAZE
    return reflectance


def quantise(rng: Generator, reflectance: np.ndarray, scale: float, dtype: type) -> np.ndarray:
    """Add detector noise to reflectances, and convert them to digital numbers.

    Args:
        rng: Random generator.
        reflectance: (n, n, bands) float32 reflectances.
        scale: Reflectance per digital number.
        dtype: Dtype of the digital numbers, uint8 or uint16.

    Returns:
        (n, n, bands) digital numbers, clipped to the range of the dtype.
    """
    numbers = rng.standard_normal(reflectance.shape, dtype=np.float32)
    numbers *= _NOISE
    numbers += reflectance
    numbers *= 1 / scale
    numbers += 0.5
    return numbers.clip(0, np.iinfo(dtype).max, out=numbers).astype(dtype)


def _render_sunlight(rng: Generator, relief: np.ndarray) -> np.ndarray:
    """Compute the light on each pixel of a relief, relative to flat ground, for a random sun."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(30, 60))
    down, right = np.gradient(relief)
    towards = np.cos(azimuth) * right + np.sin(azimuth) * down
    direct = (np.sin(elevation) - np.cos(elevation) * towards) / np.sqrt(
        1 + down * down + right * right
    )
    # A fifth of the light comes from the sky.
    return (0.2 + 0.8 * (direct / np.sin(elevation)).clip(0, 2)).astype(np.float32)
