"""`geotiff_tiles`: a folder of GeoTIFFs, cut into unlabelled tiles for pretraining.

The folder is TFDS's `manual_dir`. Each file contains either all bands, as in NAIP, or one band, as
in Sentinel-2 products. For other files, derive a builder with your own config:

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

# Limit on the bytes of an image's tiles that are in memory at once.
_ITEM_BYTES = 32 * 2**20
# Number of images that are sent to a worker at once, if they are as small as a tile.
_CHUNK = 16


@dataclass(eq=False, kw_only=True)
class GeotiffTilesConfig(tfds.core.BuilderConfig):
    """The files to read, and how to cut them.

    Attributes:
        sensor: Bands of the tiles; for files with all bands, in the order of the files.
        dtype: Dtype of the files' pixels, `uint8` or `uint16`.
        pattern: Glob of the files below the folder. If it contains `{band}`, each file contains one
            band, and `{band}` stands for the names in `file_bands`.
        file_bands: Names of the bands in file names, one for each band of the sensor.
        tile_size: Height and width of a tile, in pixels.
        stride: Distance from one tile to the next, in pixels; tiles overlap if it is less than
            `tile_size`.
        max_nodata: Maximum fraction of no-data pixels; tiles with more are dropped.
        validation: Fraction of the locations whose tiles are in the split `validation`. Images of
            one location at several dates must have the same pixel grid; otherwise the edges of
            tiles of one split are also in the other.
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
    """Tiles of a folder of GeoTIFFs, with a validation split at separate locations."""

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
                f"--config.stride: found {config.stride} with tiles of {config.tile_size} pixels, "
                "whose overlaps would be in both training and validation split; expected "
                f"{config.tile_size}, or --config.validation=0"
            )
        with gdal_environment(sidecars=True):
            images = [_read_header(files, folder, config) for files in find_images(folder, config)]
        unreadable = [
            Unreadable("train", image.error_message) for image in images if image.error_message
        ]
        draws = [tile.draw for image in images for tile in image.tiles]
        if not draws and not unreadable:
            raise UserError(
                f"folder {folder}: all images of {config.pattern} are smaller than a tile of "
                f"{config.tile_size} × {config.tile_size} pixels; expected larger ones"
            )
        fraction = config.validation
        if all(draw < fraction for draw in draws):  # with few locations, `train` may be empty
            fraction = 0.0
        groups = [group for image in images for group in _group_tiles(image, fraction, config)]
        items: list[TileGroup | Unreadable] = [*unreadable, *groups]
        counts = Counter(group.split for group in groups for _ in group.tiles)
        # Unreadable images and no-data pixels make the number of stored tiles unpredictable.
        is_known = not unreadable and not any(image.nodata for image in images)
        expected = {item.split: counts[item.split] if is_known else None for item in items}
        limit = f"{config.max_nodata:.0%}"
        summary = [
            ("images", f"{len(images):,}, of which {len(unreadable):,} unreadable"),
            ("tiles", f"{len(draws):,}, minus those with more than {limit} no-data pixels"),
        ]
        max_tiles = max((len(group.tiles) for group in groups), default=1)
        reader = TileReader(
            config.tile_size, len(config.sensor.bands), config.dtype, config.max_nodata
        )
        chunk = max(1, min(_CHUNK, _compute_max_tiles(config) // max_tiles))
        return Reading(items, reader, expected, summary, chunk).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


class Tile(NamedTuple):
    """A tile of an image.

    Attributes:
        row: Row of the tile's top left pixel.
        column: Column of the tile's top left pixel.
        key: Key of the tile, unique in the dataset.
        draw: Pseudo-random number in 0..1, a hash of the location, equal for tiles of one location.
    """

    row: int
    column: int
    key: str
    draw: float


class TileGroup(NamedTuple):
    """Tiles of an image that are in the same split.

    Attributes:
        split: The split.
        files: Files of the image: one with all bands, or one per band.
        tiles: As many tiles as fit into memory.
    """

    split: str
    files: tuple[Path, ...]
    tiles: tuple[Tile, ...]


class SourceImage(NamedTuple):
    """An image whose header has been read.

    Attributes:
        files: Files of the image: one with all bands, or one per band.
        tiles: The tiles that the image is cut into.
        nodata: Whether the image has a no-data value.
        error_message: Why the image is unreadable; empty if it is readable.
    """

    files: tuple[Path, ...]
    tiles: tuple[Tile, ...] = ()
    nodata: bool = False
    error_message: str = ""


@dataclass(frozen=True)
class TileReader:
    """Reads a group of tiles.

    Attributes:
        size: Height and width of a tile, in pixels.
        bands: Number of bands of the image, over all of its files.
        dtype: Dtype of the files' pixels.
        max_nodata: Maximum fraction of no-data pixels; tiles with more are dropped.
    """

    size: int
    bands: int
    dtype: str
    max_nodata: float

    def __call__(self, item: TileGroup | Unreadable) -> Iterator[tuple[str, Example]]:
        """Read the tiles of a group.

        Args:
            item: The group, or an image that is known to be unreadable.

        Yields:
            The key of each tile, and its `image` (size, size, bands) and `id`.

        Raises:
            UserError: If a file can't be read, or has another size, dtype or number of bands.
        """
        if isinstance(item, Unreadable):
            raise UserError(item.error_message)
        bands: list[list[np.ndarray]] = [[] for _ in item.tiles]
        empty = np.ones((len(item.tiles), self.size, self.size), bool)
        shape = None
        with gdal_environment(sidecars=True):
            for file in item.files:
                with open_raster(file) as image:
                    check_raster(file, image, self.bands // len(item.files), self.dtype, shape)
                    shape = image.shape
                    nodata = image.nodata
                    for number, tile in enumerate(item.tiles):
                        pixels = image.read(
                            window=Window(tile.column, tile.row, self.size, self.size)
                        )
                        bands[number].extend(pixels)
                        empty[number] &= False if nodata is None else (pixels == nodata).all(axis=0)
        for tile, tile_bands, tile_empty in zip(item.tiles, bands, empty, strict=True):
            if tile_empty.mean() <= self.max_nodata:
                yield tile.key, {"image": np.stack(tile_bands, axis=-1), "id": tile.key}


def find_images(folder: Path, config: GeotiffTilesConfig) -> Iterator[tuple[Path, ...]]:
    """Find the files of each image, in the order of their names.

    Args:
        folder: The folder to search.
        config: The config, of which `pattern` and `file_bands` matter.

    Yields:
        The file of an image with all bands, or its files of one band each.

    Raises:
        UserError: If there is no image, or the file of a band is missing.
    """
    one_band_each = "{band}" in config.pattern
    first_band = config.file_bands[0] if one_band_each else ""
    pattern = config.pattern.format(band=first_band)
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        names = sorted(path.name for path in folder.iterdir())
        raise UserError(
            f"folder {folder}: no file matches {pattern}; it contains "
            + ", ".join(names[:5])
            + (", …" if len(names) > 5 else "")
        )
    for path in paths:
        files: tuple[Path, ...] = (path,)
        if one_band_each:
            before, _, after = path.name.rpartition(first_band)
            files = tuple(path.with_name(before + band + after) for band in config.file_bands)
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise UserError(f"folder {path.parent}: lacks {', '.join(missing)} beside {path.name}")
        yield files


def _read_header(files: tuple[Path, ...], folder: Path, config: GeotiffTilesConfig) -> SourceImage:
    """Read the header of an image's first file, and cut the image into tiles."""
    try:
        with open_raster(files[0]) as image:
            height, width, transform = image.height, image.width, image.transform
            nodata = image.nodata is not None
    except UserError as error:
        return SourceImage(files, error_message=str(error))
    name = files[0].relative_to(folder).as_posix()
    extent = config.tile_size * np.hypot(transform.a, transform.d)
    tiles = []
    for row, column in itertools.product(
        range(0, height - config.tile_size + 1, config.stride),
        range(0, width - config.tile_size + 1, config.stride),
    ):
        key = location = f"{name}/{row}/{column}"
        if not transform.is_identity:
            # Tiles of one location at several dates must be in the same split.
            x = transform.c + transform.a * column + transform.b * row
            y = transform.f + transform.d * column + transform.e * row
            location = f"{round(x / extent)}/{round(y / extent)}"
        tiles.append(Tile(row, column, key, zlib.crc32(location.encode()) / 2**32))
    return SourceImage(files, tuple(tiles), nodata)


def _group_tiles(
    image: SourceImage, fraction: float, config: GeotiffTilesConfig
) -> Iterator[TileGroup]:
    """Group the tiles of an image by split, in groups that fit into memory.

    Args:
        image: The image.
        fraction: Fraction of the locations in the split `validation`.
        config: The config.
    """
    max_tiles = _compute_max_tiles(config)
    for split in ("train", "validation"):
        tiles = [t for t in image.tiles if (t.draw < fraction) == (split == "validation")]
        for start in range(0, len(tiles), max_tiles):
            yield TileGroup(split, image.files, tuple(tiles[start : start + max_tiles]))


def _compute_max_tiles(config: GeotiffTilesConfig) -> int:
    """Return the number of tiles that fit into memory at once."""
    pixels = config.tile_size**2 * len(config.sensor.bands)
    return max(1, _ITEM_BYTES // (pixels * np.dtype(config.dtype).itemsize))
