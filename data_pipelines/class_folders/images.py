"""Pixels of one small image file, unpacked or in a zip archive.

JPEG and PNG of 8 bits are read with Pillow, for two reasons that GDAL 3.10 gives: it enlarges the
halved chroma of a JPEG without interpolation, so that most pixels differ from those that every
other tool trains on; and of a truncated PNG it makes noise, without a word.
"""

import functools
import io
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from rasterio.enums import ColorInterp

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import gdal_environment, open_raster

__all__ = ["read_pixels"]

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH = slice(24, 25)  # the byte that says how many bits a sample has
# What a channel of an image may be: light, not an index or how transparent a pixel is.
_MODES = ("L", "RGB")


def read_pixels(file: File) -> np.ndarray:
    """A whole image, (h, w, bands), in the file's own dtype.

    Raises:
        UserError: it can't be read whole, or has a palette or transparency.
    """
    content = _content(file)
    if content.startswith(_JPEG) or (
        content.startswith(_PNG) and content[_PNG_DEPTH] != bytes([16])
    ):
        return _picture(file, content)
    with gdal_environment(), open_raster(file, content) as raster:
        transparent = raster.driver == "PNG" and ColorInterp.alpha in raster.colorinterp
        if transparent or ColorInterp.palette in raster.colorinterp:
            raise _no_measurements(file, "transparency" if transparent else "a palette")
        return np.ascontiguousarray(np.moveaxis(raster.read(), 0, -1))


def _picture(file: File, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.mode not in _MODES:
                raise _no_measurements(file, f"the colour mode {image.mode}")
            pixels = np.array(image)
    # What Pillow makes of damaged bytes; SyntaxError is a broken PNG's.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"file {file}: can't be read as JPEG or PNG ({' '.join(str(error).split())}); "
            "get it again"
        ) from error
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _no_measurements(file: File, found: str) -> UserError:
    return UserError(
        f"file {file}: has {found}; expected channels of light alone, grey or red, green, blue: "
        "save it as such"
    )


def _content(file: File) -> bytes:
    try:
        if file.member:
            archive = _archive(file.path, os.stat(file.path).st_mtime_ns)
            content = archive.read(file.member)
        else:
            content = Path(file.path).read_bytes()
    # What zipfile makes of damage, of passwords and of compressions that it doesn't know.
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        raise UserError(
            f"file {file}: can't be unpacked ({' '.join(str(error).split())}); unpack the archive, "
            "or get it again"
        ) from error
    except OSError as error:
        raise UserError(f"file {file}: can't be read ({error.strerror})") from error
    if not content:
        raise UserError(f"file {file}: is empty; get it again")
    return content


@functools.lru_cache(maxsize=2)
def _archive(path: str, _changed: int) -> zipfile.ZipFile:
    """An archive, kept open: to list tens of thousands of members takes longer than to read one."""
    return zipfile.ZipFile(path)
