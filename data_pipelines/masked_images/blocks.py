"""Reading images with masks as the cells that `sources.windows` puts together.

A picture may be of any size: it is read in strips of a few rows of cells, so that it takes the same
memory as a small one.
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

# Of a picture that are in memory at once.
_STRIP_BYTES = 32 * 2**20


class MaskedImage(NamedTuple):
    """An image and the mask that lies on it.

    Attributes:
        name: unlike any other's in the dataset.
        split: that it belongs to.
        image: where it is.
        mask: of the same height and width.
        image_bands: that the image should have; the first ones are read.
    """

    name: str
    split: str
    image: File
    mask: File
    image_bands: int


class Strip(NamedTuple):
    """A few rows of cells of a picture.

    Attributes:
        picture: of which it is a part.
        first: row of cells that it begins with.
        rows: of cells in it.
        of: rows of cells in the whole picture.
    """

    picture: MaskedImage
    first: int
    rows: int
    of: int

    @property
    def split(self) -> str:
        """The split of its picture."""
        return self.picture.split


@dataclass(frozen=True)
class BlockReader:
    """A strip of a picture -> its cells.

    Attributes:
        grid: how large cells are, and how many of them a picture is stored as.
        bands: of the stored images.
        dtype: of the images' pixels, `uint8` or `uint16`.
        legend: what the pixels of the masks mean.
    """

    grid: WindowGrid
    bands: int
    dtype: str
    legend: Legend

    def size(self, picture: MaskedImage) -> tuple[int, int]:
        """Height and width of a picture, in pixels.

        Raises:
            UserError: its image can't be read, or isn't of these bands and dtype.
        """
        with gdal_environment(), open_raster(picture.image) as raster:
            check_raster(picture.image, raster, picture.image_bands, self.dtype)
            height, width = raster.shape
        return height, width

    def strips(self, picture: MaskedImage, size: tuple[int, int]) -> list[Strip]:
        """All of a picture of that size, in strips of as many rows of cells as fit into memory."""
        height, width = size
        of = self.grid.blocks(height)
        blocks = self.grid.blocks(width) * self.grid.block**2
        rows = max(1, _STRIP_BYTES // (blocks * self.bands * np.dtype(self.dtype).itemsize))
        return [Strip(picture, first, min(rows, of - first), of) for first in range(0, of, rows)]

    def __call__(self, item: Strip | Unreadable) -> Iterator[tuple[str, Example]]:
        """Read a strip.

        Yields:
            `PICTURE/ROW/COLUMN` of each cell, and its `image` (cell, cell, bands), `mask` (cell,
            cell) uint8, `inside`, the height and width that lie in the picture, and `id`. What lies
            beyond the picture's edge is 0, and of no class.

        Raises:
            UserError: image or mask can't be read, isn't what it should be or doesn't fit the
                other, there or in any other strip. Only the first strip of a picture tells; the
                others are then empty. So a picture is stored whole or not at all.
        """
        if isinstance(item, Unreadable):
            raise UserError(item.error_message)
        with gdal_environment():
            if item.rows < item.of and (error_message := _mistake(self, item.picture)):
                if item.first == 0:
                    raise UserError(error_message)
                return
            image, mask = self.read(item)
            size = self.size(item.picture)
        block = self.grid.block
        for row in range(item.rows):
            for column in range(mask.shape[1] // block):
                key = f"{item.picture.name}/{item.first + row:04}/{column:04}"
                here = (
                    slice(row * block, (row + 1) * block),
                    slice(column * block, (column + 1) * block),
                )
                seen = [
                    min(block, max(0, whole - start * block))
                    for whole, start in zip(size, (item.first + row, column), strict=True)
                ]
                yield (
                    key,
                    {"image": image[here], "mask": mask[here], "inside": seen, "id": key},
                )

    def read(self, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
        """Image (h, w, bands) and mask (h, w) uint8 of a strip, of whole cells.

        Raises:
            UserError: as of a call, of this strip alone.
        """
        picture, block = strip.picture, self.grid.block
        # One file after the other: of two opened, the wrong one would be blamed for bad pixels.
        with open_raster(picture.image) as raster:
            check_raster(picture.image, raster, picture.image_bands, self.dtype)
            size = raster.shape
            pixels = _rows(raster, strip, block, range(1, self.bands + 1))
        with open_raster(picture.mask) as raster:
            self.legend.check(picture.mask, raster)
            check_raster(picture.mask, raster, size=size)
            classes = self.legend.classes(
                picture.mask, _rows(raster, strip, block, range(1, raster.count + 1))
            )
        shape = (strip.rows * block, self.grid.blocks(size[1]) * block)
        image = np.zeros((*shape, self.bands), self.dtype)
        mask = np.full(shape, IGNORE_LABEL, np.uint8)
        height, width = classes.shape
        image[:height, :width] = np.moveaxis(pixels, 0, -1)
        mask[:height, :width] = classes
        return image, mask


def _rows(raster: Any, strip: Strip, block: int, bands: Iterable[int]) -> np.ndarray:
    """(bands, h, w) pixels of a strip, as far as the picture goes."""
    top = strip.first * block
    height = max(0, min(raster.height - top, strip.rows * block))
    if not height:  # all of its cells lie beyond the edge
        return np.zeros((len(list(bands)), 0, raster.width), raster.dtypes[0])
    return raster.read(list(bands), window=Window(0, top, raster.width, height))


def _mistake(reader: BlockReader, picture: MaskedImage) -> str:
    """What is wrong with a picture, wherever in it; empty if nothing is."""
    stamps = tuple(
        (status.st_size, status.st_mtime_ns)
        for status in (os.stat(file.path) for file in (picture.image, picture.mask))
    )
    return _found_mistake(reader, picture, stamps)


@functools.lru_cache(maxsize=4)
def _found_mistake(reader: BlockReader, picture: MaskedImage, stamps: tuple[Any, ...]) -> str:
    """As `_mistake`: all strips of a picture ask, and in each process it is read once for that.

    The `stamps` are sizes and times of its files: one that was mended is read again.
    """
    try:
        for strip in reader.strips(picture, reader.size(picture)):
            reader.read(strip)
    except UserError as error_message:
        return str(error_message)
    return ""
