"""Reading of images with masks as the blocks that `sources.windows` joins.

An image may have any size: it is read in strips of a few rows of blocks, so that reading a large
image takes no more memory than reading a small one.
"""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rasterio.windows import Window

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import check_raster, gdal_environment, open_raster
from data_pipelines.imagery.georeferences import check_same_place
from data_pipelines.imagery.headers import Header, describe_raster
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.masked_images.legends import IGNORE_LABEL, Legend
from data_pipelines.reading import Example, Unreadable
from data_pipelines.sources.windows import WindowGrid

__all__ = ["BlockReader", "MaskedImage", "Strip"]

# Limit on the bytes of an image that are in memory at once.
_STRIP_BYTES = 32 * 2**20


class MaskedImage(NamedTuple):
    """An image and its mask.

    Attributes:
        name: Name of the image, unique in the dataset.
        split: The split that the image belongs to.
        image: File of the image.
        mask: File of the mask, of the same height and width.
    """

    name: str
    split: str
    image: File
    mask: File


class Strip(NamedTuple):
    """A few rows of blocks of an image.

    Attributes:
        source: The image and its mask.
        first_row: Index of the strip's first row of blocks in the image.
        num_rows: Number of rows of blocks in the strip.
        total_rows: Number of rows of blocks in the image.
    """

    source: MaskedImage
    first_row: int
    num_rows: int
    total_rows: int

    @property
    def split(self) -> str:
        """The split of the image."""
        return self.source.split


@dataclass(frozen=True)
class BlockReader:
    """Reads the blocks of a strip of an image.

    Attributes:
        grid: The layout of blocks and windows.
        pixels: How the images' pixels are read.
        legend: What the pixels of the masks mean.
    """

    grid: WindowGrid
    pixels: PixelFormat
    legend: Legend

    def read_header(self, source: MaskedImage) -> Header:
        """Read the header of an image, and check it and that of its mask.

        Raises:
            UserError: If one of them can't be read, or has other bands, dtype, size or place than
                expected.
        """
        with gdal_environment(sidecars=True):
            with open_raster(source.image) as raster:
                header = describe_raster(source.image, raster)
                self.pixels.check(header)
            with open_raster(source.mask) as raster:
                self.legend.check(source.mask, raster)
                check_raster(source.mask, raster, size=header.size)
                check_same_place(header, describe_raster(source.mask, raster))
        return header

    def make_strips(self, source: MaskedImage, size: tuple[int, int]) -> list[Strip]:
        """Divide an image into strips of as many rows of blocks as fit into memory.

        Args:
            source: The image.
            size: Height and width of the image, in pixels.
        """
        height, width = size
        total = self.grid.count_blocks(height)
        row_pixels = self.grid.count_blocks(width) * self.grid.block**2
        pixel_bytes = len(self.pixels.bands) * np.dtype(self.pixels.stored_dtype).itemsize
        rows = max(1, _STRIP_BYTES // (row_pixels * pixel_bytes))
        return [
            Strip(source, first, min(rows, total - first), total) for first in range(0, total, rows)
        ]

    def __call__(self, item: Strip | Unreadable) -> Iterator[tuple[str, Example]]:
        """Read the blocks of a strip.

        Args:
            item: The strip, or an image that is known to be unreadable.

        Yields:
            The key `PICTURE/ROW/COLUMN` of each block, and its `image` (block, block, bands),
            `mask` (block, block) uint8, `inside`, the height and width of the part inside the
            image, and `id`. Outside the image, `image` is 0 and `mask` unlabelled.

        Raises:
            UserError: If image or mask can't be read, is invalid, or doesn't match the other, in
                this strip or in any other of the image. Only the first strip of an image raises
                the error; the others then yield nothing. So an image is stored completely or not at
                all.
        """
        if isinstance(item, Unreadable):
            raise UserError(item.error_message)
        with gdal_environment(sidecars=True):
            is_part = item.num_rows < item.total_rows
            if is_part and (error_message := _find_error(self, item.source)):
                if item.first_row == 0:
                    raise UserError(error_message)
                return
            image, mask, size = self.read_strip(item)
        block = self.grid.block
        for row in range(item.num_rows):
            for column in range(mask.shape[1] // block):
                key = f"{item.source.name}/{item.first_row + row:04}/{column:04}"
                pixels = (
                    slice(row * block, (row + 1) * block),
                    slice(column * block, (column + 1) * block),
                )
                inside = [
                    min(block, max(0, length - start * block))
                    for length, start in zip(size, (item.first_row + row, column), strict=True)
                ]
                yield (
                    key,
                    {"image": image[pixels], "mask": mask[pixels], "inside": inside, "id": key},
                )

    def read_strip(self, strip: Strip) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Read the image and the mask of a strip, padded to complete blocks.

        Returns:
            image (h, w, bands), 0 outside the image and where it has no data; mask (h, w) uint8,
            unlabelled there; and the height and width of the whole image.

        Raises:
            UserError: If image or mask can't be read, is invalid, or doesn't match the other, in
                this strip.
        """
        source, block = strip.source, self.grid.block
        # One file after the other: with both open, GDAL's errors could name the wrong file.
        with open_raster(source.image) as raster:
            size = raster.shape
            window = _make_window(strip, block, size)
            raw = self.pixels.read(source.image, raster, window) if window.height else None
        with open_raster(source.mask) as raster:
            check_raster(source.mask, raster, size=size)
            classes = self.legend.read(source.mask, raster, window) if window.height else None
        shape = (strip.num_rows * block, self.grid.count_blocks(size[1]) * block)
        image = np.zeros((*shape, len(self.pixels.bands)), self.pixels.stored_dtype)
        mask = np.full(shape, IGNORE_LABEL, np.uint8)
        if raw is not None and classes is not None:
            height, width = classes.shape
            image[:height, :width] = self.pixels.convert(raw)
            mask[:height, :width] = np.where(raw.has_data, classes, IGNORE_LABEL)
        return image, mask, size


def _make_window(strip: Strip, block: int, size: tuple[int, int]) -> Window:
    """Return the part of an image that a strip covers; of height 0 if it is below the image."""
    top = strip.first_row * block
    return Window(0, top, size[1], max(0, min(size[0] - top, strip.num_rows * block)))


def _find_error(reader: BlockReader, source: MaskedImage) -> str:
    """Read an image completely, and return the first error message; empty if it is valid."""
    stamps = tuple(
        (status.st_size, status.st_mtime_ns)
        for status in (os.stat(file.path) for file in (source.image, source.mask))
    )
    return _find_error_cached(reader, source, stamps)


@functools.lru_cache(maxsize=4)
def _find_error_cached(reader: BlockReader, source: MaskedImage, stamps: tuple[Any, ...]) -> str:
    """See `_find_error`; cached, so that a process reads an image once for all of its strips.

    The `stamps` are sizes and modification times of the files, so that a repaired file is read
    again.
    """
    try:
        for strip in reader.make_strips(source, reader.read_header(source).size):
            reader.read_strip(strip)
    except UserError as error:
        return str(error)
    return ""
