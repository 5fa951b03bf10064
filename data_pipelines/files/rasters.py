"""Pixels of image files, with any problem of a file raised as a `UserError`."""

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio
from rasterio.env import get_gdal_config, hasenv, set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, find_files

__all__ = [
    "IMAGE_SUFFIXES",
    "bound_gdal_cache",
    "check_raster",
    "find_images",
    "gdal_environment",
    "open_raster",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".jp2")

# Formats that contain all of their pixels: GDAL's others can refer to further files.
_FORMATS = ("GTiff", "JPEG", "PNG", "JP2OpenJPEG")
_FORMAT_NAMES = "GeoTIFF, JPEG, PNG or JPEG 2000"
_CACHE_BYTES = 32 * 2**20


def find_images(folder: Path, aside: Counter[str] | None = None) -> list[File]:
    """Find the image files below a folder and in the zip archives there; see `find_files`."""
    return find_files(folder, lambda name: Path(name).suffix.casefold() in IMAGE_SUFFIXES, aside)


def bound_gdal_cache(limit: int = _CACHE_BYTES) -> None:
    """Bound the pixels that GDAL keeps in this process, which are 5 % of the memory by default.

    Args:
        limit: Number of bytes.
    """
    if get_gdal_config("GDAL_CACHEMAX") != limit:
        set_gdal_config("GDAL_CACHEMAX", limit)


def gdal_environment(sidecars: bool = False) -> Any:
    """Return a context manager with this package's GDAL options.

    Enter it once for several files.

    Args:
        sidecars: Whether to look for files beside an image that contain its georeference or its
            nodata value, which takes long in a folder of half a million patches.
    """
    # GDAL's fast path for a whole PNG reads a truncated one without an error, as noise.
    options: dict[str, Any] = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
    if not sidecars:
        options["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
    return rasterio.Env(**options)


@contextlib.contextmanager
def open_raster(file: File | Path, content: bytes | None = None) -> Iterator[Any]:
    """Open a GeoTIFF, JPEG, PNG or JPEG 2000 file as a rasterio dataset.

    Args:
        file: The file, which error messages name.
        content: Bytes of the file, if it has been read already.

    Yields:
        The rasterio dataset.

    Raises:
        UserError: If the file can't be opened, or can't be read inside the `with` block.
    """
    try:
        with contextlib.ExitStack() as stack:
            if not hasenv():
                stack.enter_context(gdal_environment())
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if content is not None:
                raster = stack.enter_context(MemoryFile(content)).open()
            else:
                # rasterio.open does the same, but takes a sixth longer.
                path = file.gdal_path if isinstance(file, File) else os.fspath(file)
                raster = DatasetReader(path)
            stack.enter_context(raster)
            if raster.driver not in _FORMATS:
                raise UserError(f"file {file}: is {raster.driver}; expected {_FORMAT_NAMES}")
            yield raster
    except RasterioError as error:
        raise UserError(
            f"file {file}: can't be read as {_FORMAT_NAMES} ({' '.join(str(error).split())})"
        ) from error


def check_raster(
    file: File | Path,
    raster: Any,
    bands: int | None = None,
    dtype: str | None = None,
    size: tuple[int, int] | None = None,
) -> None:
    """Check the bands, dtype and size of an image file.

    Args:
        file: The file, which error messages name.
        raster: The open rasterio dataset.
        bands: Expected number of bands; None to accept any.
        dtype: Expected dtype of the pixels; None to accept any.
        size: Expected (height, width) in pixels; None to accept any.

    Raises:
        UserError: If one of them differs.
    """
    if bands is not None and raster.count != bands:
        raise UserError(f"file {file}: has {raster.count} bands; expected {bands}")
    if dtype is not None and set(raster.dtypes) != {dtype}:
        raise UserError(f"file {file}: its pixels are {raster.dtypes[0]}; expected {dtype}")
    if size is not None and raster.shape != size:
        raise UserError(
            f"file {file}: has {raster.height} × {raster.width} pixels; expected "
            f"{size[0]} × {size[1]}"
        )
