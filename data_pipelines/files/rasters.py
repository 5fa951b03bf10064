"""Pixels of image files, with whatever is wrong with them told in a line."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio
from rasterio.env import hasenv
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File

__all__ = ["IMAGE_SUFFIXES", "check_raster", "gdal_environment", "open_raster"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

# Formats that are pixels and nothing else: GDAL's others can refer to further files.
_FORMATS = ("GTiff", "JPEG", "PNG")


def gdal_environment(companions: bool = False) -> Any:
    """How GDAL is to work inside this `with`; to be entered once for several files.

    Args:
        companions: whether to look for files beside an image that say where on earth it lies or
            what is no data; in a folder of half a million patches that takes long.
    """
    # The quick way of reading a whole PNG takes a truncated one for noise.
    options: dict[str, Any] = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
    if not companions:
        options["GDAL_DISABLE_READDIR_ON_OPEN"] = "EMPTY_DIR"
    return rasterio.Env(**options)


@contextlib.contextmanager
def open_raster(file: File | Path, content: bytes | None = None) -> Iterator[Any]:
    """A GeoTIFF, JPEG or PNG as a rasterio dataset.

    Args:
        file: where it is; what errors speak of.
        content: its bytes, where they have been read already.

    Raises:
        UserError: it can't be opened, or can't be read inside the `with`.
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
                # Not rasterio.open, which takes a sixth longer to come to the same.
                path = file.gdal if isinstance(file, File) else os.fspath(file)
                raster = DatasetReader(path)
            stack.enter_context(raster)
            if raster.driver not in _FORMATS:
                raise UserError(f"file {file}: is {raster.driver}; expected GeoTIFF, JPEG or PNG")
            yield raster
    except RasterioError as error:
        raise UserError(
            f"file {file}: can't be read as GeoTIFF, JPEG or PNG ({' '.join(str(error).split())})"
        ) from error


def check_raster(
    file: File | Path,
    raster: Any,
    bands: int | None = None,
    dtype: str | None = None,
    size: tuple[int, int] | None = None,
) -> None:
    """Compare what a file holds with what it should.

    Args:
        file: what errors speak of.
        raster: the opened file.
        bands: how many it should have.
        dtype: of its pixels.
        size: (height, width) it should have.

    Raises:
        UserError: it is otherwise.
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
