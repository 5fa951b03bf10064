"""Reading of images with masks as the blocks that `sources.windows` joins.

An image may have any size: it is read in strips of a few rows of blocks, so that reading a large
image takes no more memory than reading a small one.
"""

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rasterio.windows import Window

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import check_raster, gdal_environment, open_raster
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
        image_bands: Number of bands that the image should have; the first ones are read.
    """

    name: str
    split: str
    image: File
    mask: File
    image_bands: int


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
        bands: Number of bands of the stored images.
        dtype: Dtype of the images' pixels, `uint8` or `uint16`.
        legend: What the pixels of the masks mean.
    """

    grid: WindowGrid
    bands: int
    dtype: str
    legend: Legend

    def read_size(self, source: MaskedImage) -> tuple[int, int]:
        """Read the height and width of an image, in pixels.

        Raises:
            UserError: If the image can't be read, or has another number of bands or dtype.
        """
        with gdal_environment(), open_raster(source.image) as raster:
            check_raster(source.image, raster, source.image_bands, self.dtype)
            height, width = raster.shape
        return height, width

    def make_strips(self, source: MaskedImage, size: tuple[int, int]) -> list[Strip]:
        """Divide an image into strips of as many rows of blocks as fit into memory.

        Args:
            source: The image.
            size: Height and width of the image, in pixels.
        """
        height, width = size
        total = self.grid.count_blocks(height)
        row_pixels = self.grid.count_blocks(width) * self.grid.block**2
        rows = max(1, _STRIP_BYTES // (row_pixels * self.bands * np.dtype(self.dtype).itemsize))
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
        with gdal_environment():
            is_part = item.num_rows < item.total_rows
            if is_part and (error_message := _find_error(self, item.source)):
                if item.first_row == 0:
                    raise UserError(error_message)
                return
            image, mask = self.read_strip(item)
            size = self.read_size(item.source)
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

    def read_strip(self, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
        """Read the image and the mask of a strip, padded to complete blocks.

        Returns:
            image (h, w, bands), 0 outside the image, and mask (h, w) uint8, unlabelled there.

        Raises:
            UserError: If image or mask can't be read, is invalid, or doesn't match the other, in
                this strip.
        """
        source, block = strip.source, self.grid.block
        # One file after the other: with both open, GDAL's errors could name the wrong file.
        with open_raster(source.image) as raster:
            check_raster(source.image, raster, source.image_bands, self.dtype)
            size = raster.shape
            pixels = _read_rows(raster, strip, block, range(1, self.bands + 1))
        with open_raster(source.mask) as raster:
            self.legend.check(source.mask, raster)
            check_raster(source.mask, raster, size=size)
            classes = self.legend.decode(
                source.mask, _read_rows(raster, strip, block, range(1, raster.count + 1))
            )
        shape = (strip.num_rows * block, self.grid.count_blocks(size[1]) * block)
        image = np.zeros((*shape, self.bands), self.dtype)
        mask = np.full(shape, IGNORE_LABEL, np.uint8)
        height, width = classes.shape
        image[:height, :width] = np.moveaxis(pixels, 0, -1)
        mask[:height, :width] = classes
        return image, mask


def _read_rows(raster: Any, strip: Strip, block: int, bands: Iterable[int]) -> np.ndarray:
    """Read the (bands, h, w) pixels of a strip that are inside the image."""
    top = strip.first_row * block
    height = max(0, min(raster.height - top, strip.num_rows * block))
    if not height:  # all blocks of the strip are outside the image
        return np.zeros((len(list(bands)), 0, raster.width), raster.dtypes[0])
    return raster.read(list(bands), window=Window(0, top, raster.width, height))


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
        for strip in reader.make_strips(source, reader.read_size(source)):
            reader.read_strip(strip)
    except UserError as error:
        return str(error)
    return ""
