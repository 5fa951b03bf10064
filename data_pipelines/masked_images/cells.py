"""Pictures with masks of classes, stored as the cells that `sources.windows` puts together.

A picture may be of any size: it is read in strips of a few rows of cells, so that it takes the same
memory as a small one. A mask holds colours or class numbers; what either means is a `Legend`.
"""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow_datasets as tfds
from rasterio.windows import Window

from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import check, gdal_environment, open_raster
from data_pipelines.reading import Example, Reading, Unreadable
from data_pipelines.sources.windows import Grid

__all__ = [
    "IGNORE_LABEL",
    "CellReader",
    "ColourLegend",
    "Legend",
    "NumberLegend",
    "Picture",
    "Strip",
    "dataset_info",
    "grid_of",
    "reading",
]

# Of stored masks: pixels of no class.
IGNORE_LABEL = 255
# Of a picture that are in memory at once.
_STRIP_BYTES = 32 * 2**20
# Cells on a side of a window: more of them, each a record, would take long to put together.
_MOST_CELLS = 16


class Picture(NamedTuple):
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

    picture: Picture
    first: int
    rows: int
    of: int

    @property
    def split(self) -> str:
        """The split of its picture."""
        return self.picture.split


class Legend(Protocol):
    """What the pixels of a mask mean."""

    def check(self, file: File, raster: Any) -> None:
        """Whether a file can be such a mask. Raises UserError."""

    def classes(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """(bands, h, w) pixels of a file -> (h, w) uint8 class numbers. Raises UserError."""


@dataclass(frozen=True)
class ColourLegend:
    """Each class has a colour; a pixel of any other is of no class.

    Attributes:
        colours: red, green and blue of each class, 0..255.
        bits: of each channel that count, from the top: 8 for the exact colour, 1 for whether the
            channel is nearer to 255 than to 0, which survives lossy compression.
    """

    colours: tuple[tuple[int, int, int], ...]
    bits: int = 8

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        check(file, raster, bands=3, dtype="uint8")

    def classes(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """See `Legend`."""
        return _class_of_code(self)[_codes(pixels, self.bits)]


@dataclass(frozen=True)
class NumberLegend:
    """Pixels are class numbers, from 0.

    Attributes:
        count: of classes.
        ignore: the number of pixels that are of no class.
    """

    count: int
    ignore: int

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        check(file, raster, bands=1)
        if not np.issubdtype(np.dtype(raster.dtypes[0]), np.integer):
            raise UserError(
                f"file {file}: its pixels are {raster.dtypes[0]}; expected whole numbers of classes"
            )

    def classes(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """See `Legend`."""
        numbers = pixels[0]
        known = (numbers >= 0) & (numbers < self.count)
        others = numbers[~known & (numbers != self.ignore)]
        if others.size:
            raise UserError(
                f"file {file}: has pixels of value {others[0]}; expected the numbers 0 to "
                f"{self.count - 1} of the {self.count} classes, or {self.ignore} for none: name "
                "the classes that lack, or set --config.ignore_label"
            )
        return np.where(known, numbers, IGNORE_LABEL).astype(np.uint8)


@dataclass(frozen=True)
class CellReader:
    """A strip of a picture -> its cells.

    Attributes:
        grid: how large cells are, and how many of them a picture is stored as.
        bands: of the stored images.
        dtype: of the images' pixels, `uint8` or `uint16`.
        legend: what the pixels of the masks mean.
    """

    grid: Grid
    bands: int
    dtype: str
    legend: Legend

    def size(self, picture: Picture) -> tuple[int, int]:
        """Height and width of a picture, in pixels.

        Raises:
            UserError: its image can't be read, or isn't of these bands and dtype.
        """
        with gdal_environment(), open_raster(picture.image) as raster:
            check(picture.image, raster, picture.image_bands, self.dtype)
            height, width = raster.shape
        return height, width

    def strips(self, picture: Picture, size: tuple[int, int]) -> list[Strip]:
        """All of a picture of that size, in strips of as many rows of cells as fit into memory."""
        height, width = size
        of = self.grid.cells(height)
        cells = self.grid.cells(width) * self.grid.cell**2
        rows = max(1, _STRIP_BYTES // (cells * self.bands * np.dtype(self.dtype).itemsize))
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
            raise UserError(item.mistake)
        with gdal_environment():
            if item.rows < item.of and (mistake := _mistake(self, item.picture)):
                if item.first == 0:
                    raise UserError(mistake)
                return
            image, mask = self.read(item)
            size = self.size(item.picture)
        cell = self.grid.cell
        for row in range(item.rows):
            for column in range(mask.shape[1] // cell):
                key = f"{item.picture.name}/{item.first + row:04}/{column:04}"
                here = (
                    slice(row * cell, (row + 1) * cell),
                    slice(column * cell, (column + 1) * cell),
                )
                seen = [
                    min(cell, max(0, whole - start * cell))
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
        picture, cell = strip.picture, self.grid.cell
        # One file after the other: of two opened, the wrong one would be blamed for bad pixels.
        with open_raster(picture.image) as raster:
            check(picture.image, raster, picture.image_bands, self.dtype)
            size = raster.shape
            pixels = _rows(raster, strip, cell, range(1, self.bands + 1))
        with open_raster(picture.mask) as raster:
            self.legend.check(picture.mask, raster)
            check(picture.mask, raster, size=size)
            classes = self.legend.classes(
                picture.mask, _rows(raster, strip, cell, range(1, raster.count + 1))
            )
        shape = (strip.rows * cell, self.grid.cells(size[1]) * cell)
        image = np.zeros((*shape, self.bands), self.dtype)
        mask = np.full(shape, IGNORE_LABEL, np.uint8)
        height, width = classes.shape
        image[:height, :width] = np.moveaxis(pixels, 0, -1)
        mask[:height, :width] = classes
        return image, mask


def grid_of(window: int, stride: int) -> Grid:
    """The grid for a window and a stride of a config, in pixels.

    Raises:
        UserError: such windows would leave gaps, or would be put together from far too many cells.
    """
    if not 0 < stride <= window:
        raise UserError(
            f"--config.stride: found {stride} with a window of {window}; expected 1 to the window"
        )
    grid = Grid.of(window, stride)
    if grid.window > _MOST_CELLS:
        raise UserError(
            f"--config.stride: found {stride} with a window of {window}, which share cells of "
            f"{grid.cell} × {grid.cell} pixels; expected a stride that has more in common with "
            f"the window, such as {window // 2 if window % 2 == 0 else window}"
        )
    return grid


def reading(pictures: Iterable[Picture | Unreadable], reader: CellReader) -> Reading[Any]:
    """All cells of pictures. What can be seen to be wrong before reading pixels comes first."""
    bad: list[Unreadable] = []
    strips: list[Strip] = []
    pixels: dict[str, list[tuple[int, int]]] = {}
    for picture in pictures:
        sizes = pixels.setdefault(picture.split, [])
        if isinstance(picture, Unreadable):
            bad.append(picture)
            continue
        try:
            size = reader.size(picture)
        except UserError as mistake:
            bad.append(Unreadable(picture.split, str(mistake)))
        else:
            sizes.append(size)
            strips += reader.strips(picture, size)
    expected: dict[str, int | None] = {}
    found = [(f"{len(bad):,} that can't be read", bad[0].mistake)] if bad else []
    grid = reader.grid
    side = grid.window * grid.cell
    for split, sizes in pixels.items():
        cells = sum(grid.cells(height) * grid.cells(width) for height, width in sizes)
        windows = sum(grid.count(height) * grid.count(width) for height, width in sizes)
        expected[split] = None if any(one.split == split for one in bad) else cells
        found.append((split, f"{_counted(len(sizes), 'picture')}, {_counted(windows, 'window')} "
                             f"of {side} × {side} pixels"))  # fmt: skip
    return Reading([*bad, *strips], reader, expected, found, chunk=1)


def dataset_info(
    builder: tfds.core.DatasetBuilder,
    reader: CellReader,
    sensor: Sensor,
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    choices: Mapping[str, Any],
    homepage: str = "",
) -> tfds.core.DatasetInfo:
    """What TFDS is to know of a dataset of cells.

    Args:
        builder: of the dataset.
        reader: of its cells.
        sensor: of its images.
        classes: names.
        colours: red, green, blue of each class.
        choices: what else is to be kept in the metadata, as JSON can hold it.
        homepage: of the dataset.
    """
    cell, encoding = reader.grid.cell, tfds.features.Encoding.BYTES
    return tfds.core.DatasetInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(
                    shape=(cell, cell, reader.bands),
                    dtype=np.dtype(reader.dtype),
                    encoding=encoding,
                ),
                "mask": tfds.features.Tensor(shape=(cell, cell), dtype=np.uint8, encoding=encoding),
                "inside": tfds.features.Tensor(shape=(2,), dtype=np.int32),
                "id": tfds.features.Text(),
            }
        ),
        metadata=tfds.core.MetadataDict(
            {
                "sensor": sensor.to_dict(),
                "classes": list(classes),
                "colours": [list(colour) for colour in colours],
                "ignore_label": IGNORE_LABEL,
                "windows": reader.grid.to_dict(),
                **choices,
            }
        ),
        homepage=homepage or None,
    )


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _rows(raster: Any, strip: Strip, cell: int, bands: Iterable[int]) -> np.ndarray:
    """(bands, h, w) pixels of a strip, as far as the picture goes."""
    top = strip.first * cell
    height = max(0, min(raster.height - top, strip.rows * cell))
    if not height:  # all of its cells lie beyond the edge
        return np.zeros((len(list(bands)), 0, raster.width), raster.dtypes[0])
    return raster.read(list(bands), window=Window(0, top, raster.width, height))


def _mistake(reader: CellReader, picture: Picture) -> str:
    """What is wrong with a picture, wherever in it; empty if nothing is."""
    stamps = tuple(
        (status.st_size, status.st_mtime_ns)
        for status in (os.stat(file.path) for file in (picture.image, picture.mask))
    )
    return _found_mistake(reader, picture, stamps)


@functools.lru_cache(maxsize=4)
def _found_mistake(reader: CellReader, picture: Picture, stamps: tuple[Any, ...]) -> str:
    """As `_mistake`: all strips of a picture ask, and in each process it is read once for that.

    The `stamps` are sizes and times of its files: one that was mended is read again.
    """
    try:
        for strip in reader.strips(picture, reader.size(picture)):
            reader.read(strip)
    except UserError as mistake:
        return str(mistake)
    return ""


def _codes(pixels: np.ndarray, bits: int) -> np.ndarray:
    """(3, ...) uint8 colours -> (...) uint8 or uint32: the upper bits of each, side by side."""
    kind = np.uint8 if 3 * bits <= 8 else np.uint32
    red, green, blue = ((channel >> (8 - bits)).astype(kind) for channel in pixels)
    return red << 2 * bits | green << bits | blue


@functools.lru_cache(maxsize=1)
def _class_of_code(legend: ColourLegend) -> np.ndarray:
    """(codes,) uint8: the class of every colour there can be; 16 MB if all bits count."""
    table = np.full(2 ** (3 * legend.bits), IGNORE_LABEL, np.uint8)
    colours = np.array(legend.colours, np.uint8).T
    table[_codes(colours, legend.bits)] = np.arange(len(legend.colours))
    return table
