"""A raster of a scene, opened once per thread, with any problem raised as a `UserError`."""

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from data_pipelines.errors import UserError
from data_pipelines.files.rasters import gdal_environment
from data_pipelines.imagery.headers import Header
from data_pipelines.imagery.pixels import PixelFormat, RawPixels

__all__ = ["SceneRaster", "find_cache", "open_any_raster"]

# Rows of pixels that windows side by side need, and a few more: a cache that is a little too small
# drops each block before it is needed again.
_ROWS = 640

_OPENING = threading.Lock()


@dataclass(frozen=True)
class SceneRaster:
    """A raster with some of the bands of a scene, of which any window can be read.

    Attributes:
        path: Its path in GDAL's notation.
        header: Its header.
        pixels: How its bands are read; `channels` are the numbers of those that are needed.
        offsets: Added to the numbers of each band.
        scales: What one digital number of the sensor is in the numbers after that, of each band.
        cache: Bytes of its blocks to keep, so that windows side by side don't decode them anew.
    """

    path: str
    header: Header
    pixels: PixelFormat
    offsets: tuple[float, ...]
    scales: tuple[float, ...]
    cache: int
    _opened: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    def read(self, top: int, left: int, height: int, width: int) -> RawPixels:
        """Read a window.

        Args:
            top: Row of its upper edge, in pixels of the raster.
            left: Column of its left edge.
            height: Height, in pixels.
            width: Width, in pixels.

        Raises:
            UserError: If the file can't be read there, such as since it is truncated.
        """
        window = Window(left, top, width, height)
        try:
            with gdal_environment(sidecars=True):
                raster = self._open()
                numbers = self._read_numbers(raster, window)
                if not self.pixels.has_nodata:
                    planes = np.zeros((2, *numbers.shape), bool)
                    return RawPixels(numbers, *planes)
                mask = self._read_mask(raster, window)
        except RasterioError as error:
            raise UserError(
                f"file {self.path}: can't be read at row {top}, column {left} "
                f"({_find_reason(error)}); replace it with an intact copy"
            ) from error
        return self.pixels.interpret(self.header, numbers, mask)

    def _open(self) -> Any:
        """Return the dataset of this thread: GDAL's datasets serve one thread at a time."""
        if not hasattr(self._opened, "raster"):
            self._opened.raster = open_any_raster(self.path)
        return self._opened.raster

    def _read_numbers(self, raster: Any, window: Window) -> np.ndarray:
        channels = self.pixels.channels
        dtypes = [raster.dtypes[number - 1] for number in channels]
        if len(set(dtypes)) == 1:
            return raster.read(channels, window=window)
        parts = [raster.read(number, window=window) for number in channels]
        return np.stack([part.astype(self.pixels.dtype) for part in parts])

    def _read_mask(self, raster: Any, window: Window) -> np.ndarray | None:
        if self.pixels.transparent and self.header.alpha:
            return raster.read(self.header.alpha, window=window)
        if self.header.has_mask:
            return raster.read_masks(1, window=window)
        if self.header.has_band_masks:
            return raster.read_masks(self.pixels.channels, window=window)
        return None


def find_cache(raster: Any, channels: Sequence[int]) -> int:
    """Return the bytes of a raster's blocks to keep while its windows are read row by row.

    Small tiles are cheap to decode again. Strips, as wide as the raster, and the large tiles of
    JPEG 2000 are not.

    Args:
        raster: The rasterio dataset.
        channels: Numbers of the bands that are read.
    """
    height, width = raster.block_shapes[channels[0] - 1]
    if height < _ROWS and width < raster.width:
        return 0
    if raster.interleaving == Interleaving.pixel:  # the other bands are decoded and kept too
        channels = raster.indexes
    bytes_per_pixel = sum(np.dtype(raster.dtypes[number - 1]).itemsize for number in channels)
    return min(raster.height, height + _ROWS) * raster.width * bytes_per_pixel


def open_any_raster(path: str) -> Any:
    """Open a raster of any format that GDAL knows.

    Args:
        path: Its path in GDAL's notation.

    Raises:
        UserError: If it can't be opened, or has no bands itself.
    """
    try:
        # Filters of warnings are the same for all threads.
        with _OPENING, warnings.catch_warnings(), gdal_environment(sidecars=True):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            raster = rasterio.open(path)
    except (RasterioError, ValueError) as error:
        raise UserError(f"file {path}: can't be opened ({_find_reason(error)})") from error
    if not raster.count:
        names = ", ".join(raster.subdatasets[:4]) or "none"
        raise UserError(f"file {path}: has no bands itself; give one of its parts: {names}")
    return raster


def _find_reason(error: BaseException) -> str:
    """Return GDAL's own message, which is often the cause of rasterio's, on one line."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return " ".join(str(error).split())[:300]
