"""Reading the pixels of small image files, unpacked or in a zip archive.

JPEG and 8-bit PNG files are read with Pillow, because of two properties of GDAL 3.10: it upsamples
the subsampled chroma of a JPEG without interpolation, so that most pixels differ from those that
other tools train on; and it silently decodes a truncated PNG to noise.
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
_PNG_BIT_DEPTH = slice(24, 25)  # the byte of a PNG file that holds the bits per sample
# Colour modes without palette and alpha channel, whose channels are measurements.
_MODES = ("L", "RGB")


def read_pixels(file: File) -> np.ndarray:
    """Read an image.

    Returns:
        (height, width, bands) pixels, in the dtype of the file.

    Raises:
        UserError: If the file can't be read completely, or has a palette or transparency.
    """
    content = _read_content(file)
    if content.startswith(_JPEG) or (
        content.startswith(_PNG) and content[_PNG_BIT_DEPTH] != bytes([16])
    ):
        return _decode_with_pillow(file, content)
    with gdal_environment(), open_raster(file, content) as raster:
        transparent = raster.driver == "PNG" and ColorInterp.alpha in raster.colorinterp
        if transparent or ColorInterp.palette in raster.colorinterp:
            raise _unsupported_channels_error(file, "transparency" if transparent else "a palette")
        return np.ascontiguousarray(np.moveaxis(raster.read(), 0, -1))


def _decode_with_pillow(file: File, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.mode not in _MODES:
                raise _unsupported_channels_error(file, f"the colour mode {image.mode}")
            pixels = np.array(image)
    # The errors that Pillow raises for corrupt files; SyntaxError for a corrupt PNG.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"file {file}: can't be read as JPEG or PNG ({' '.join(str(error).split())}); "
            "replace it with an intact copy"
        ) from error
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _unsupported_channels_error(file: File, content: str) -> UserError:
    return UserError(
        f"file {file}: found {content}; expected a greyscale or RGB image without palette and "
        "transparency: convert it"
    )


def _read_content(file: File) -> bytes:
    try:
        if file.member:
            archive = _open_archive(file.path, os.stat(file.path).st_mtime_ns)
            content = archive.read(file.member)
        else:
            content = Path(file.path).read_bytes()
    # The errors that zipfile raises for corrupt files, encryption and unknown compression methods.
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        raise UserError(
            f"file {file}: can't be unpacked ({' '.join(str(error).split())}); unpack the archive, "
            "or replace it with an intact copy"
        ) from error
    except OSError as error:
        raise UserError(f"file {file}: can't be read ({error.strerror})") from error
    if not content:
        raise UserError(f"file {file}: is empty; expected an image: replace it with an intact copy")
    return content


@functools.lru_cache(maxsize=2)
def _open_archive(path: str, _mtime_ns: int) -> zipfile.ZipFile:
    """Open a zip archive and keep it open: listing its members takes longer than reading one."""
    return zipfile.ZipFile(path)
