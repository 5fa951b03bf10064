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
from data_pipelines.imagery.headers import Header, describe_raster
from data_pipelines.imagery.pixels import PixelFormat, RawPixels

__all__ = ["decode_image"]

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH = slice(24, 25)  # the byte of a PNG file that holds the bits per sample
# {colour mode without palette: number of its band that is transparency, 0 for none}.
_MODES = {"L": 0, "LA": 2, "RGB": 0, "RGBA": 4}


def decode_image(file: File, pixels: PixelFormat) -> RawPixels:
    """Read a small image completely.

    Args:
        file: The file.
        pixels: How its pixels are read.

    Raises:
        UserError: If the file can't be read completely, has a palette, another dtype or other
            bands.
    """
    content = _read_content(file)
    if content.startswith(_JPEG) or (
        content.startswith(_PNG) and content[_PNG_BIT_DEPTH] != bytes([16])
    ):
        header, bands = _decode_with_pillow(file, content)
        pixels.check(header)
        mask = bands[header.alpha - 1] if pixels.transparent and header.alpha else None
        numbers = bands[[number - 1 for number in pixels.find_channels(header)]]
        return pixels.interpret(header, numbers, mask)
    with gdal_environment(), open_raster(file, content) as raster:
        pixels.check(describe_raster(file, raster))
        if ColorInterp.palette in raster.colorinterp:
            raise _make_palette_error(file, "a palette")
        return pixels.read(file, raster)


def _decode_with_pillow(file: File, content: bytes) -> tuple[Header, np.ndarray]:
    """Return the header and the (bands, h, w) pixels of a JPEG or PNG file."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if image.mode not in _MODES:
                raise _make_palette_error(file, f"the colour mode {image.mode}")
            pixels, alpha = np.array(image), _MODES[image.mode]
    # The errors that Pillow raises for corrupt files; SyntaxError for a corrupt PNG.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"file {file}: can't be read as JPEG or PNG ({' '.join(str(error).split())}); "
            "replace it with an intact copy"
        ) from error
    bands = np.moveaxis(np.atleast_3d(pixels), -1, 0)
    header = Header(file, len(bands), str(pixels.dtype), pixels.shape[:2], alpha=alpha)
    return header._replace(names=("",) * len(bands)), bands


def _make_palette_error(file: File, content: str) -> UserError:
    return UserError(
        f"file {file}: found {content}; expected a greyscale or RGB image without palette: "
        "convert it"
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
