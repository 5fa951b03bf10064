"""`geotiff_tiles`: a folder of GeoTIFFs cut into unlabelled tiles, to pretrain on.

The folder is TFDS's `manual_dir`. Its files hold either all bands each, as NAIP's do, or one band
each, as Sentinel-2's products do. For files of another kind, derive a builder with a config of your
own:

    class MyTiles(GeotiffTiles):
        BUILDER_CONFIGS = (GeotiffTilesConfig(name="mine", sensor=..., dtype="uint16"),)
"""

import itertools
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from rasterio.windows import Window

from data_pipelines.bands import NAIP, SENTINEL2_L2A, Sensor
from data_pipelines.errors import UserError
from data_pipelines.files.rasters import check_raster, gdal_environment, open_raster
from data_pipelines.reading import Example, Reading, Unreadable

__all__ = ["GeotiffTiles", "GeotiffTilesConfig"]

# Of an image's tiles that are in memory at once.
_ITEM_BYTES = 32 * 2**20
# Images that go to a worker at once, where they are as small as a tile.
_CHUNK = 16


@dataclass(eq=False, kw_only=True)
class GeotiffTilesConfig(tfds.core.BuilderConfig):
    """Which files, and how they are cut.

    Attributes:
        sensor: the bands of the tiles; those of a file with all bands in the file's order.
        dtype: of the files' pixels, `uint8` or `uint16`.
        pattern: which files below the folder, as a glob. With `{band}` in it each file holds one
            band, and `{band}` stands for the names in `file_bands`.
        file_bands: names in the files' names, one for each band of the sensor.
        tile_size: height and width of a tile, in pixels.
        stride: from one tile to the next, in pixels; less than `tile_size` makes them overlap.
        max_nodata: tiles with a larger share of pixels without data are dropped.
        validation: share of the places whose tiles go into the split of that name. Images of one
            place at several dates must lie on one grid, or one split sees the edges of the other's
            tiles.
    """

    sensor: Sensor
    dtype: str
    pattern: str = "**/*.tif"
    file_bands: tuple[str, ...] = ()
    tile_size: int = 120
    stride: int = 120
    max_nodata: float = 0.1
    validation: float = 0.1


class GeotiffTiles(tfds.core.GeneratorBasedBuilder):
    """Tiles of a folder of GeoTIFFs, with a validation share at places of its own."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        GeotiffTilesConfig(name="naip", sensor=NAIP, dtype="uint8"),
        GeotiffTilesConfig(
            name="sentinel2",
            sensor=SENTINEL2_L2A.select(("red", "green", "blue", "nir")),
            dtype="uint16",
            pattern="**/*_{band}.tif",
            file_bands=("B04", "B03", "B02", "B08"),
        ),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = "a folder of GeoTIFFs"

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        shape = (config.tile_size, config.tile_size, len(config.sensor.bands))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Tiles of a folder of GeoTIFFs.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=shape,
                        dtype=np.dtype(config.dtype),
                        encoding=tfds.features.Encoding.BYTES,
                    ),
                    "id": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict({"sensor": config.sensor.to_dict()}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        if config.validation and config.stride < config.tile_size:
            raise UserError(
                f"--config.stride: found {config.stride}, so that tiles of {config.tile_size} "
                "pixels overlap and one side of the cut would see the other; expected "
                f"{config.tile_size}, or --config.validation=0"
            )
        with gdal_environment(companions=True):
            scenes = [_look_at(files, folder, config) for files in find_images(folder, config)]
        bad = [Unreadable("train", scene.error_message) for scene in scenes if scene.error_message]
        draws = [tile.draw for scene in scenes for tile in scene.tiles]
        if not draws and not bad:
            raise UserError(
                f"folder {folder}: all images of {config.pattern} are smaller than a tile of "
                f"{config.tile_size} × {config.tile_size} pixels; expected larger ones"
            )
        share = config.validation
        if all(draw < share for draw in draws):  # so few places that one side got none
            share = 0.0
        tiles = [item for scene in scenes for item in _items(scene, share, config)]
        items: list[Tiles | Unreadable] = [*bad, *tiles]
        counts = Counter(item.split for item in tiles for _ in item.tiles)
        # With bad images, or pixels without data, nobody knows how many tiles will be left.
        known = not bad and not any(scene.nodata for scene in scenes)
        expected = {item.split: counts[item.split] if known else None for item in items}
        found = [
            ("images", f"{len(scenes):,}, {len(bad):,} of which can't be read"),
            (
                "tiles",
                f"{len(draws):,}, less those with more than {config.max_nodata:.0%} of no data",
            ),
        ]
        most = max((len(item.tiles) for item in tiles), default=1)
        reader = TileReader(
            config.tile_size, len(config.sensor.bands), config.dtype, config.max_nodata
        )
        chunk = max(1, min(_CHUNK, _most_tiles(config) // most))
        return Reading(items, reader, expected, found, chunk).splits()

    def _generate_examples(self) -> Any:
        """Not asked for: `_split_generators` returns the examples."""


class Tile(NamedTuple):
    """A window of an image.

    Attributes:
        row: of the tile's upper left pixel.
        column: of the tile's upper left pixel.
        key: unlike any other tile's.
        draw: 0..1, by chance but always the same, and equal for tiles of one place.
    """

    row: int
    column: int
    key: str
    draw: float


class Tiles(NamedTuple):
    """Some tiles of an image that are in the same split.

    Attributes:
        split: theirs.
        files: of the image: one with all bands, or one a band.
        tiles: as many as fit into memory.
    """

    split: str
    files: tuple[Path, ...]
    tiles: tuple[Tile, ...]


class SourceImage(NamedTuple):
    """An image before its pixels are read.

    Attributes:
        files: one with all bands, or one a band.
        tiles: that it is cut into.
        nodata: whether there is a value that means pixels without data.
        mistake: what is wrong with it; empty if nothing is.
    """

    files: tuple[Path, ...]
    tiles: tuple[Tile, ...] = ()
    nodata: bool = False
    error_message: str = ""


@dataclass(frozen=True)
class TileReader:
    """Some tiles of an image -> their examples.

    Attributes:
        size: height and width of a tile, in pixels.
        bands: of the image, in however many files.
        dtype: of the files' pixels.
        max_nodata: tiles with a larger share of pixels without data are dropped.
    """

    size: int
    bands: int
    dtype: str
    max_nodata: float

    def __call__(self, item: Tiles | Unreadable) -> Iterator[tuple[str, Example]]:
        """Read the tiles of an item.

        Yields:
            The key of each, and its `image` (size, size, bands) and `id`.

        Raises:
            UserError: a file can't be read, or isn't what it should be.
        """
        if isinstance(item, Unreadable):
            raise UserError(item.error_message)
        bands: list[list[np.ndarray]] = [[] for _ in item.tiles]
        empty = np.ones((len(item.tiles), self.size, self.size), bool)
        shape = None
        with gdal_environment(companions=True):
            for file in item.files:
                with open_raster(file) as image:
                    check_raster(file, image, self.bands // len(item.files), self.dtype, shape)
                    shape = image.shape
                    for number, tile in enumerate(item.tiles):
                        read = image.read(
                            window=Window(tile.column, tile.row, self.size, self.size)
                        )
                        bands[number].extend(read)
                        none = image.nodata
                        empty[number] &= False if none is None else (read == none).all(axis=0)
        for tile, pixels, without in zip(item.tiles, bands, empty, strict=True):
            if without.mean() <= self.max_nodata:
                yield tile.key, {"image": np.stack(pixels, axis=-1), "id": tile.key}


def find_images(folder: Path, config: GeotiffTilesConfig) -> Iterator[tuple[Path, ...]]:
    """The files of each image in the folder, in the order of their names.

    Raises:
        UserError: there is none, or a band's file is missing.
    """
    one_band_each = "{band}" in config.pattern
    first = config.file_bands[0] if one_band_each else ""
    pattern = config.pattern.format(band=first)
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found:
        there = sorted(path.name for path in folder.iterdir())
        raise UserError(
            f"folder {folder}: no file matches {pattern}; it holds "
            + ", ".join(there[:5])
            + (", …" if len(there) > 5 else "")
        )
    for path in found:
        files: tuple[Path, ...] = (path,)
        if one_band_each:
            before, _, after = path.name.rpartition(first)
            files = tuple(path.with_name(before + band + after) for band in config.file_bands)
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise UserError(f"folder {path.parent}: lacks {', '.join(missing)} beside {path.name}")
        yield files


def _look_at(files: tuple[Path, ...], folder: Path, config: GeotiffTilesConfig) -> SourceImage:
    """An image as the header of its first file has it."""
    try:
        with open_raster(files[0]) as image:
            height, width, transform = image.height, image.width, image.transform
            nodata = image.nodata is not None
    except UserError as error_message:
        return SourceImage(files, error_message=str(error_message))
    name = files[0].relative_to(folder).as_posix()
    extent = config.tile_size * np.hypot(transform.a, transform.d)
    tiles = []
    for row, column in itertools.product(
        range(0, height - config.tile_size + 1, config.stride),
        range(0, width - config.tile_size + 1, config.stride),
    ):
        key = place = f"{name}/{row}/{column}"
        if not transform.is_identity:
            # Another date of the same place must not stand on the other side of the cut.
            x = transform.c + transform.a * column + transform.b * row
            y = transform.f + transform.d * column + transform.e * row
            place = f"{round(x / extent)}/{round(y / extent)}"
        tiles.append(Tile(row, column, key, zlib.crc32(place.encode()) / 2**32))
    return SourceImage(files, tuple(tiles), nodata)


def _items(scene: SourceImage, share: float, config: GeotiffTilesConfig) -> Iterator[Tiles]:
    """The tiles of an image by split, as many at once as fit into memory."""
    for split in ("train", "validation"):
        tiles = [t for t in scene.tiles if (t.draw < share) == (split == "validation")]
        for start in range(0, len(tiles), _most_tiles(config)):
            yield Tiles(split, scene.files, tuple(tiles[start : start + _most_tiles(config)]))


def _most_tiles(config: GeotiffTilesConfig) -> int:
    pixels = config.tile_size**2 * len(config.sensor.bands)
    return max(1, _ITEM_BYTES // (pixels * np.dtype(config.dtype).itemsize))
