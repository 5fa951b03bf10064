"""A scene: an image of any size in digital numbers of a sensor, of which any window can be read."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from data_pipelines.bands import Sensor
from data_pipelines.files.rasters import bound_gdal_cache
from data_pipelines.imagery.georeferences import Georeference
from data_pipelines.imagery.pixels import RawPixels
from data_pipelines.scenes.raster import SceneRaster
from data_pipelines.scenes.resampling import resample
from data_pipelines.scenes.sampling import ENOUGH, find_places

__all__ = ["Scene"]

# The largest number of 8 bits, of which each may be measured; in wider ones a no-data value isn't.
_SMALL = ("uint8", "int8")
# Limits on the bytes of blocks that GDAL keeps while a scene is read.
_CACHE_BYTES = (32 * 2**20, 192 * 2**20)


@dataclass(frozen=True)
class Scene:
    """An image of any size, as a network expects it. Thread-safe.

    Attributes:
        name: Its name.
        sensor: The sensor, with the bands of the image in order.
        rasters: One with all bands, or one for each band.
        height: Height, in pixels.
        width: Width, in pixels.
        georeference: What places it.
        dtype: Dtype of the image: `uint8` or `uint16` as in its files, else `float32`.
        fill: What stands in each band for numbers that are missing.
        found: (subject, details) pairs that tell the user how it is read.
    """

    name: str
    sensor: Sensor
    rasters: tuple[SceneRaster, ...]
    height: int
    width: int
    georeference: Georeference
    dtype: str
    fill: tuple[float, ...]
    found: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.height, self.width

    @property
    def can_miss(self) -> bool:
        """Whether some pixels may have no data."""
        return any(raster.pixels.has_nodata for raster in self.rasters)

    @cached_property
    def resolution(self) -> float:
        """Ground sampling distance, in metres, the mean of both sides; 0 if it is unknown."""
        height, width = self.georeference.measure_pixel(self.size)
        return (height * width) ** 0.5

    def read(self, top: int, left: int, height: int, width: int) -> dict[str, np.ndarray]:
        """Read a window.

        Args:
            top: Row of its upper edge, in pixels.
            left: Column of its left edge, in pixels.
            height: Height, in pixels.
            width: Width, in pixels.

        Returns:
            `image` (height, width, bands) in digital numbers of the sensor, in which missing
            numbers are filled, and `has_data` (height, width) bool.

        Raises:
            UserError: If a file can't be read there.
            ValueError: If the window reaches beyond the image.
        """
        raw = self._read_raw(top, left, height, width)
        numbers = self._convert(raw.numbers)
        if not self.can_miss:
            image = np.ascontiguousarray(np.moveaxis(numbers, 0, -1))
            return {"image": image, "has_data": np.ones((height, width), bool)}
        is_missing = raw.is_missing | raw.is_background.all(axis=0)
        if raw.numbers.dtype.name not in _SMALL:
            is_missing |= raw.is_background
        fill = np.asarray(self.fill)
        if self.dtype != "float32":
            fill = np.rint(fill).clip(0, np.iinfo(self.dtype).max)
        image = np.empty((height, width, len(fill)), self.dtype)
        for band, value in enumerate(fill.astype(self.dtype)):
            image[..., band] = np.where(is_missing[band], value, numbers[band])
        return {"image": image, "has_data": raw.has_data}

    def is_needed(self, top: int, left: int, height: int, width: int) -> bool:
        """Return True: whether a window has data is known once it is read."""
        return True

    def sample_pixels(self) -> list[np.ndarray]:
        """Read pixels of a few places that are spread over the scene, to be summarised.

        Returns:
            (n, 1, bands) for each place with data: the pixels that have data, in digital numbers.

        Raises:
            UserError: If a file can't be read.
        """
        return [image[has_data][:, None] for image, has_data in self._sample if has_data.any()]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What tells this scene, read in this way, from others, as JSON types.

        It has the sizes of the files but neither their folders nor their dates, so that a copy of
        the scene is the same one.
        """
        pixels = hashlib.sha256()
        for image, has_data in self._sample:
            pixels.update(image.tobytes() + has_data.tobytes())
        sizes = [
            os.path.getsize(raster.path) if os.path.isfile(raster.path) else 0
            for raster in self.rasters
        ]
        return {
            "name": self.name,
            "size": [self.height, self.width],
            "bands": list(self.sensor.names),
            "dtype": self.dtype,
            "bytes": sizes,
            "nodata": [raster.pixels.nodata for raster in self.rasters],
            "offsets": [list(raster.offsets) for raster in self.rasters],
            "scales": [list(raster.scales) for raster in self.rasters],
            "georeference": self.georeference.to_dict(),
            "pixels": pixels.hexdigest(),
        }

    @property
    def digest(self) -> str:
        """A short hash of the identity."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _sample(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Image and `has_data` of a few places."""
        found: list[tuple[np.ndarray, np.ndarray]] = []
        with_data = 0
        for window in find_places(self.height, self.width):
            read = self.read(*window)
            found.append((read["image"], read["has_data"]))
            with_data += bool(read["has_data"].any())
            if with_data >= ENOUGH:
                break
        return found

    def _read_raw(self, top: int, left: int, height: int, width: int) -> RawPixels:
        """Read the numbers of all bands on the grid of the scene."""
        is_inside = top >= 0 and left >= 0 and min(height, width) > 0
        if not is_inside or top + height > self.height or left + width > self.width:
            raise ValueError(
                f"scene {self.name}: found a window of {height} × {width} pixels at row {top}, "
                f"column {left}; expected one inside of {self.height} × {self.width}"
            )
        wanted = sum(raster.cache for raster in self.rasters)
        bound_gdal_cache(min(max(wanted, _CACHE_BYTES[0]), _CACHE_BYTES[1]))
        window = (top, left, height, width)
        parts = [
            raster.read(*window)
            if raster.header.size == self.size
            else resample(raster.read, raster.header.size, self.size, window)
            for raster in self.rasters
        ]
        return parts[0] if len(parts) == 1 else RawPixels.stack(parts)

    def _convert(self, numbers: np.ndarray) -> np.ndarray:
        """Convert (bands, h, w) numbers of the files to digital numbers of the sensor."""
        offsets = np.concatenate([raster.offsets for raster in self.rasters])
        scales = np.concatenate([raster.scales for raster in self.rasters])
        if offsets.any() or (scales != 1).any():
            values = numbers.astype(np.float32) + offsets[:, None, None].astype(np.float32)
            if self.dtype != "float32":  # a product, as networks learn its tiles: 0 is no data
                numbers = np.rint(values).clip(1, np.iinfo(self.dtype).max)
            else:
                numbers = values / scales[:, None, None].astype(np.float32)
        return numbers.astype(self.dtype, copy=False)
