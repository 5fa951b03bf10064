"""Reading the tiles of images whose bands are in one file, or in one file each."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rasterio.windows import Window

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import check_raster, gdal_environment, open_raster
from data_pipelines.geotiff_tiles.cutting import Tile
from data_pipelines.geotiff_tiles.sources import TileSource
from data_pipelines.imagery.pixels import PixelFormat, RawPixels
from data_pipelines.reading import Example, Unreadable

__all__ = ["TileGroup", "TileReader"]

# Limit on the bytes of an image's tiles that are in memory at once.
_ITEM_BYTES = 32 * 2**20


class TileGroup(NamedTuple):
    """Tiles of an image that are in the same split.

    Attributes:
        split: The split.
        source: The image.
        tiles: As many tiles as fit into memory.
    """

    split: str
    source: TileSource
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class TileReader:
    """Reads a group of tiles.

    Attributes:
        size: Height and width of a tile, in pixels.
        bands: Names of the bands of the image, over all of its files.
        pixels: How the pixels of a file are read.
        max_nodata: Maximum fraction of no-data pixels; tiles with more are dropped.
    """

    size: int
    bands: tuple[str, ...]
    pixels: PixelFormat
    max_nodata: float

    def __call__(self, item: TileGroup | Unreadable) -> Iterator[tuple[str, Example]]:
        """Read the tiles of a group.

        Args:
            item: The group, or an image that is known to be unreadable.

        Yields:
            The key of each tile, and its `image` (size, size, bands) and `id`.

        Raises:
            UserError: If a file can't be read, or has another size, dtype or other bands.
        """
        if isinstance(item, Unreadable):
            raise UserError(item.error_message)
        parts: list[list[RawPixels]] = [[] for _ in item.tiles]
        shape = None
        with gdal_environment(sidecars=True):
            for file, pixels in zip(item.source.files, self._formats(item.source), strict=True):
                with open_raster(file) as image:
                    # Bands of a product have pixels of 10, 20 or 60 m, and the same extent.
                    check_raster(file, image, size=None if item.source.level else shape)
                    shape = shape or image.shape
                    for tile, of_tile in zip(item.tiles, parts, strict=True):
                        of_tile.append(self._read(file, image, pixels, tile, shape))
        for tile, of_tile in zip(item.tiles, parts, strict=True):
            raw = RawPixels.stack(of_tile)
            if 1 - raw.has_data.mean() <= self.max_nodata:
                image = self.pixels.convert(raw, item.source.offset)
                yield tile.key, {"image": image, "id": tile.key}

    @property
    def max_tiles(self) -> int:
        """The number of tiles that fit into memory at once."""
        pixels = self.size**2 * len(self.bands)
        return max(1, _ITEM_BYTES // (pixels * np.dtype(self.pixels.dtype).itemsize))

    def group_tiles(
        self, source: TileSource, tiles: Sequence[Tile], splits: Mapping[str, str]
    ) -> Iterator[TileGroup]:
        """Group the tiles of an image by split, in groups that fit into memory.

        Args:
            source: The image.
            tiles: Its tiles.
            splits: {key of a tile: split}; others are left out.
        """
        for split in ("train", "validation"):
            of_split = [tile for tile in tiles if splits.get(tile.key) == split]
            for start in range(0, len(of_split), self.max_tiles):
                yield TileGroup(split, source, tuple(of_split[start : start + self.max_tiles]))

    def _formats(self, source: TileSource) -> list[PixelFormat]:
        """Return how the pixels of each file are read."""
        if len(source.files) == 1:
            return [self.pixels]
        return [dataclasses.replace(self.pixels, bands=(band,)) for band in self.bands]

    def _read(
        self, file: File, image: Any, pixels: PixelFormat, tile: Tile, shape: tuple[int, int]
    ) -> RawPixels:
        """Read a tile, given in pixels of an image of another `shape`."""
        down, right = (side / of_first for side, of_first in zip(image.shape, shape, strict=True))
        window = Window(tile.column * right, tile.row * down, self.size * right, self.size * down)
        return pixels.read(file, image, window, (self.size, self.size))
