"""The data profile: a few kilobytes that describe the pixels of a dataset, as plain JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from data_pipelines.profiles.divergence import LearnedPixels
from data_pipelines.profiles.validation import check_profile

__all__ = ["PERCENTS", "REFLECTANCE", "BandProfile", "ClassProfile", "DataProfile", "name_unit"]

# The quantiles of each band, in percent.
PERCENTS = (0.1, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9)
_FORMAT = 1

REFLECTANCE = "reflectance"
_FULL_SCALE = "fraction of full scale"


@dataclass(frozen=True)
class BandProfile:
    """The pixels of one band, in digital numbers; shares are fractions of all pixels.

    Attributes:
        name: Name of the band.
        wavelength: Centre wavelength, in nanometres.
        unit: Unit of `digital number * scale + offset`.
        scale: Physical units per digital number.
        offset: Physical value of digital number 0.
        quantiles: Digital numbers at `PERCENTS`.
        mean: Mean of the digital numbers.
        std: Their standard deviation.
        saturated: Share of pixels at the largest number of the dtype.
        beyond: Share of pixels whose physical value is outside 0 to 1, where it is clipped.
    """

    name: str
    wavelength: float
    unit: str
    scale: float
    offset: float
    quantiles: tuple[float, ...]
    mean: float
    std: float
    saturated: float
    beyond: float


@dataclass(frozen=True)
class ClassProfile:
    """A class: its name, the number that stands for it, its colour and how often it occurs.

    Attributes:
        name: Name of the class.
        number: Its number in labels and masks.
        colour: Red, green and blue, 0 to 255; empty if the dataset has no colours.
        count: Number of examples with the class, or of pixels in masks.
    """

    name: str
    number: int
    colour: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class DataProfile:
    """What the images of a split are like.

    Attributes:
        sensor: Name of the sensor.
        resolution: Ground sampling distance, in metres; 0 if it is unknown.
        image_size: Height and width of an image, in pixels.
        dtype: Dtype of the digital numbers.
        images: Number of images measured; 0 if the statistics are published ones.
        pixels: Number of pixels measured, in every fourth row of each image.
        is_sample: Whether the measured images are a random sample of the split's.
        nodata: Share of pixels that are 0 in all bands.
        bands: The bands, in the order of an image's last axis.
        correlation: (bands, bands) correlation of the digital numbers; empty if it is unknown.
        counted: What the classes' counts are of, `examples` or `pixels`; empty without classes.
        classes: The classes.
    """

    sensor: str
    resolution: float
    image_size: tuple[int, int]
    dtype: str
    images: int
    pixels: int
    is_sample: bool
    nodata: float
    bands: tuple[BandProfile, ...]
    correlation: tuple[tuple[float, ...], ...]
    counted: str = ""
    classes: tuple[ClassProfile, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The bands' names, in order."""
        return tuple(band.name for band in self.bands)

    @property
    def verb(self) -> str:
        """What its statistics are called: `learned`, or `expected` if they are published ones."""
        return "learned" if self.images else "expected"

    @property
    def subject(self) -> str:
        """What the profile is of, before its numbers: the network, or the sensor."""
        return "the network learned" if self.images else f"{self.sensor} has"

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean of each band, (bands,) float64."""
        return np.array([band.mean for band in self.bands])

    @cached_property
    def pixel_distribution(self) -> LearnedPixels:
        """The distribution of the pixels; bands of unknown correlation are independent."""
        std = np.array([band.std for band in self.bands])
        correlation = np.array(self.correlation) if self.correlation else np.eye(len(std))
        return LearnedPixels.from_moments(self.mean, correlation * np.outer(std, std))

    @cached_property
    def quantiles(self) -> np.ndarray:
        """The quantiles of each band, (quantiles, bands) float64."""
        return np.array([band.quantiles for band in self.bands]).T

    def select(self, names: Sequence[str]) -> "DataProfile":
        """Return the profile of images with only the given bands, in the given order.

        Args:
            names: Names of bands of the profile.
        """
        indices = [self.names.index(name) for name in names]
        return dataclasses.replace(
            self,
            bands=tuple(self.bands[index] for index in indices),
            correlation=tuple(
                tuple(self.correlation[row][column] for column in indices) for row in indices
            )
            if self.correlation
            else (),
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert the profile to JSON types, with real numbers of six digits."""
        return {"format": _FORMAT, **_to_json(dataclasses.asdict(self))}

    @classmethod
    def from_dict(cls, profile: Mapping[str, Any]) -> "DataProfile":
        """Parse and check a profile that `to_dict` wrote.

        Raises:
            UserError: If a field is missing or invalid.
        """
        check_profile(profile, _FORMAT, len(PERCENTS))
        fields = {field.name: profile[field.name] for field in dataclasses.fields(cls)}
        fields["image_size"] = tuple(profile["image_size"])
        fields["correlation"] = tuple(tuple(row) for row in profile["correlation"])
        fields["bands"] = tuple(
            BandProfile(**{**_known(BandProfile, band), "quantiles": tuple(band["quantiles"])})
            for band in profile["bands"]
        )
        fields["classes"] = tuple(
            ClassProfile(**{**_known(ClassProfile, item), "colour": tuple(item["colour"])})
            for item in profile["classes"]
        )
        return cls(**fields)


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass; a later version may have added others."""
    return {field.name: values[field.name] for field in dataclasses.fields(kind)}


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _to_json(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_to_json(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def name_unit(scale: float) -> str:
    """Name the unit of `digital number * scale`.

    Cameras that aren't calibrated have numbers up to 255 or 65,535, which stand for full scale.

    Args:
        scale: Physical units per digital number.
    """
    full_scales = (1 / 255, 1 / 65535)
    is_camera = any(math.isclose(scale, full, rel_tol=1e-6) for full in full_scales)
    return _FULL_SCALE if is_camera else REFLECTANCE
