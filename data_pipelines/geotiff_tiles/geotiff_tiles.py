"""`geotiff_tiles`: a folder of GeoTIFFs cut into unlabelled tiles, to pretrain on.

The folder is TFDS's `manual_dir`. Its files hold either all bands each, as NAIP's do, or one band
each, as the patches of BigEarthNet. For files of another kind, derive a builder with a config of
your own:

    class MyTiles(GeotiffTiles):
        BUILDER_CONFIGS = (GeotiffTilesConfig(name="mine", sensor=..., dtype="uint16"),)
"""

import contextlib
import itertools
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import tensorflow_datasets as tfds
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from data_pipelines.bands import NAIP, SENTINEL2_L2A, Sensor
from data_pipelines.errors import UserError

__all__ = ["GeotiffTiles", "GeotiffTilesConfig"]


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
        validation: share of the places whose tiles go into the split of that name.
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
            name="bigearthnet",
            sensor=SENTINEL2_L2A.select(("red", "green", "blue", "nir")),
            dtype="uint16",
            pattern="**/*_{band}.tif",
            file_bands=("B04", "B03", "B02", "B08"),
        ),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = "a folder of GeoTIFFs"

    expected_examples: Mapping[str, int] = {}

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
                    )
                }
            ),
            metadata=tfds.core.MetadataDict({"sensor": config.sensor.to_dict()}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        folder = Path(dl_manager.manual_dir)
        tiles = [tile for image in images(folder, config) for tile in _cut(image, folder, config)]
        if not tiles:
            raise UserError(
                f"folder {folder}: all images of {config.pattern} are smaller than a tile of "
                f"{config.tile_size} × {config.tile_size} pixels; expected larger ones"
            )
        validation = [tile for tile in tiles if tile.draw < config.validation]
        train = [tile for tile in tiles if tile.draw >= config.validation]
        if not validation or not train:  # so few places that one side got none
            train, validation = tiles, []
        splits = {"train": train, "validation": validation}
        self.expected_examples = {name: len(part) for name, part in splits.items() if part}
        return {
            name: self._generate_examples(folder, part) for name, part in splits.items() if part
        }

    def _generate_examples(
        self, folder: Path, tiles: "Sequence[Tile]"
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        kept = 0
        for files, of_image in itertools.groupby(tiles, key=lambda tile: tile.files):
            with contextlib.ExitStack() as stack:
                opened = [stack.enter_context(_open(file)) for file in files]
                _check(files, opened, config)
                for tile in of_image:
                    pixels, nodata = _read(opened, tile, config.tile_size)
                    if nodata <= config.max_nodata:
                        kept += 1
                        yield tile.key, {"image": pixels}
        if not kept:
            raise UserError(
                f"folder {folder}: every tile has more than {config.max_nodata:.0%} pixels without "
                "data; expected fuller images, or a larger max_nodata"
            )


class Tile(NamedTuple):
    """A window of an image.

    Attributes:
        files: of the image: one with all bands, or one a band.
        row: of the tile's upper left pixel.
        column: of the tile's upper left pixel.
        key: unlike any other tile's.
        draw: 0..1, by chance but always the same, and equal for tiles of one place.
    """

    files: tuple[Path, ...]
    row: int
    column: int
    key: str
    draw: float


def images(folder: Path, config: GeotiffTilesConfig) -> Iterator[tuple[Path, ...]]:
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


def _cut(files: tuple[Path, ...], folder: Path, config: GeotiffTilesConfig) -> Iterator[Tile]:
    with _open(files[0]) as image:
        height, width, transform = image.height, image.width, image.transform
    name = files[0].relative_to(folder).as_posix()
    extent = config.tile_size * np.hypot(transform.a, transform.d)
    for row in range(0, height - config.tile_size + 1, config.stride):
        for column in range(0, width - config.tile_size + 1, config.stride):
            key = place = f"{name}/{row}/{column}"
            if not transform.is_identity:
                # Another date of the same place must not stand on the other side of the cut.
                x = transform.c + transform.a * column + transform.b * row
                y = transform.f + transform.d * column + transform.e * row
                place = f"{round(x / extent)}/{round(y / extent)}"
            yield Tile(files, row, column, key, zlib.crc32(place.encode()) / 2**32)


def _check(files: Sequence[Path], opened: Sequence[Any], config: GeotiffTilesConfig) -> None:
    bands = len(config.sensor.bands) // len(files)
    for file, image in zip(files, opened, strict=True):
        if image.count != bands:
            raise UserError(f"file {file}: has {image.count} bands; expected {bands}")
        if set(image.dtypes) != {config.dtype}:
            raise UserError(
                f"file {file}: its pixels are {image.dtypes[0]}; expected {config.dtype}"
            )
        if image.shape != opened[0].shape:
            raise UserError(
                f"file {file}: has {image.height} × {image.width} pixels; expected "
                f"{opened[0].height} × {opened[0].width} as {files[0].name} has"
            )


def _read(opened: Sequence[Any], tile: Tile, size: int) -> tuple[np.ndarray, float]:
    """Pixels (size, size, bands) of a tile, and which share of them is without data."""
    window = Window(tile.column, tile.row, size, size)
    empty = np.ones((size, size), bool)
    bands: list[np.ndarray] = []
    for image in opened:
        read = image.read(window=window)
        empty &= False if image.nodata is None else (read == image.nodata).all(axis=0)
        bands.extend(read)
    return np.stack(bands, axis=-1), float(empty.mean())


@contextlib.contextmanager
def _open(file: Path) -> Iterator[Any]:
    """An image to read from; whatever goes wrong with it is said of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            image = rasterio.open(file)
        with image:
            yield image
    except RasterioError as error:
        raise UserError(
            f"file {file}: can't be read as GeoTIFF ({' '.join(str(error).split())})"
        ) from error
