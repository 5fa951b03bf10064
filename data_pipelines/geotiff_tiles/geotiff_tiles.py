"""`geotiff_tiles`: a folder of GeoTIFFs, cut into unlabelled tiles for pretraining.

The folder is TFDS's `manual_dir`. Each file contains either all bands, as in NAIP, or one band, as
in Sentinel-2 products. For other files, derive a builder with your own config:

    class MyTiles(GeotiffTiles):
        BUILDER_CONFIGS = (GeotiffTilesConfig(name="mine", sensor=..., dtype="uint16"),)
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import NAIP, SENTINEL2_L1C, SENTINEL2_L2A, Sensor
from data_pipelines.errors import UserError
from data_pipelines.files.paths import format_counts
from data_pipelines.geotiff_tiles.cutting import cut_into_tiles, describe_cutting, divide_by_place
from data_pipelines.geotiff_tiles.sources import TileSource, find_sources
from data_pipelines.geotiff_tiles.tiles import TileGroup, TileReader
from data_pipelines.imagery.headers import read_headers
from data_pipelines.imagery.pixels import STORED_DTYPES, STORED_SCALE, PixelFormat
from data_pipelines.imagery.survey import ImageFields, describe_reading, survey_images
from data_pipelines.reading import Reading, Unreadable

__all__ = ["GeotiffTiles", "GeotiffTilesConfig"]

# Number of images that are sent to a worker at once, if they are as small as a tile.
_CHUNK = 16


@dataclass(eq=False, kw_only=True)
class GeotiffTilesConfig(tfds.core.BuilderConfig):
    """The files to read, and how to cut them.

    Attributes:
        sensor: Bands of the tiles. In files with all bands they are found by the names in the
            files, or else are in this order.
        dtype: Dtype of the files' pixels; any but `uint8` and `uint16` needs a `scale`.
        pattern: Pattern of the files below the folder. If it contains `{band}`, each file contains
            one band, and `{band}` stands for the names in `file_bands`.
        file_bands: Names of the bands in file names, one for each band of the sensor.
        channels: Numbers, from 1, of the files' bands that hold the sensor's; empty to find them.
        scale: Physical units per number of the files; 0 for the sensor's.
        offset: Added to the files' numbers, -1000 for Sentinel-2 since baseline 04.00; products as
            ESA ships them have it in their metadata.
        nodata: Value of pixels without data, `nan`, or `none`; empty for what the files say.
        tile_size: Height and width of a tile, in pixels.
        stride: Distance from one tile to the next, in pixels; tiles overlap if it is less than
            `tile_size`.
        max_nodata: Maximum fraction of no-data pixels; tiles with more are dropped.
        validation: Fraction of the locations whose tiles are in the split `validation`. Tiles of
            `train` that overlap one of these, as images of one location on different pixel grids
            have, are left out.
    """

    sensor: Sensor
    dtype: str
    pattern: str = "**/*.tif"
    file_bands: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    scale: float = 0.0
    offset: float = 0.0
    nodata: str = ""
    tile_size: int = 120
    stride: int = 120
    max_nodata: float = 0.1
    validation: float = 0.1


_RGBN = ("red", "green", "blue", "nir")
_RGBN_FILES = ("B04", "B03", "B02", "B08")


class GeotiffTiles(tfds.core.GeneratorBasedBuilder):
    """Tiles of a folder of GeoTIFFs, with a validation split at separate locations."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        GeotiffTilesConfig(name="naip", sensor=NAIP, dtype="uint8"),
        *(
            GeotiffTilesConfig(
                name=name,
                sensor=sensor.select(_RGBN),
                dtype="uint16",
                pattern="**/*_{band}",
                file_bands=_RGBN_FILES,
            )
            for name, sensor in (("sentinel2", SENTINEL2_L2A), ("sentinel2_l1c", SENTINEL2_L1C))
        ),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = "a folder of GeoTIFFs"

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        is_stored = config.dtype in STORED_DTYPES
        scale = config.scale or config.sensor.bands[0].scale if is_stored else STORED_SCALE
        sensor = config.sensor.with_scale(scale)
        reading = describe_reading(config, ("channels", "scale", "offset", "nodata"))
        shape = (config.tile_size, config.tile_size, len(config.sensor.bands))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Tiles of a folder of GeoTIFFs.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(
                        shape=shape,
                        dtype=np.dtype(config.dtype if is_stored else "uint16"),
                        encoding=tfds.features.Encoding.BYTES,
                    ),
                    "id": tfds.features.Text(),
                }
            ),
            metadata=tfds.core.MetadataDict({"sensor": sensor.to_dict(), **reading}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        if config.validation and config.stride < config.tile_size:
            raise UserError(
                f"--config.stride: found {config.stride} with tiles of {config.tile_size} pixels, "
                "whose overlaps would be in both training and validation split; expected "
                f"{config.tile_size}, or --config.validation=0"
            )
        aside: Counter[str] = Counter()
        sources = find_sources(folder, config.pattern, config.file_bands, aside)
        _check_level(sources, config)
        headers, errors = read_headers(source.files[0] for source in sources)
        pixels, found = _survey(sources, config)
        if pixels.has_nodata:
            self.info.metadata["nodata"] = 0
        tiles = {
            header.file: [*cut_into_tiles(header, config.tile_size, config.stride)]
            for header in headers
        }
        everything = [tile for of_image in tiles.values() for tile in of_image]
        if not everything and not errors:
            raise UserError(
                f"folder {folder}: all images of {config.pattern} are smaller than a tile of "
                f"{config.tile_size} × {config.tile_size} pixels; expected larger ones, or "
                "--config.tile_size=SIDE --config.stride=SIDE"
            )
        fraction = config.validation
        if all(tile.draw < fraction for tile in everything):  # of few locations, all may be chosen
            fraction = 0.0
        splits = divide_by_place(everything, fraction)
        reader = TileReader(config.tile_size, config.sensor.names, pixels, config.max_nodata)
        groups = [
            group
            for source in sources
            for group in reader.group_tiles(source, tiles.get(source.files[0], []), splits)
        ]
        items: list[TileGroup | Unreadable] = [
            *(Unreadable("train", message) for message in errors.values()),
            *groups,
        ]
        counts = Counter(splits.values())
        # Unreadable images and no-data pixels make the number of stored tiles unpredictable.
        is_known = not errors and not pixels.has_nodata
        expected = {item.split: counts[item.split] if is_known else None for item in items}
        found += [
            ("images", f"{len(sources):,}, of which {len(errors):,} unreadable"),
            ("tiles", _describe_tiles(len(everything), len(splits), config)),
            ("area", describe_cutting(headers, config.tile_size, config.stride)),
        ]
        if aside.total():
            found.append(("left aside", format_counts(aside)))
        max_tiles = max((len(group.tiles) for group in groups), default=1)
        chunk = max(1, min(_CHUNK, reader.max_tiles // max_tiles))
        is_partition = config.stride == config.tile_size
        num_pixels = sum(h.size[0] * h.size[1] for h in headers) if is_partition else 0
        return Reading(items, reader, expected, found, chunk, num_pixels).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _describe_tiles(count: int, num_used: int, config: GeotiffTilesConfig) -> str:
    text = f"{count:,}, minus those with more than {config.max_nodata:.0%} no-data pixels"
    if num_used < count:
        text += f", and {count - num_used:,} of train that overlap one of validation by place"
    return text


def _check_level(sources: Sequence[TileSource], config: GeotiffTilesConfig) -> None:
    """Check that products are of the level whose statistics the sensor has."""
    for source in sources:
        if source.level and not config.sensor.name.endswith(source.level.casefold()):
            raise UserError(
                f"file {source.files[0]}: is of a product of level {source.level}; expected one "
                f"for sensor {config.sensor.name}, or geotiff_tiles/"
                f"{'sentinel2_l1c' if source.level == 'L1C' else 'sentinel2'}"
            )


def _survey(
    sources: Sequence[TileSource], config: GeotiffTilesConfig
) -> tuple[PixelFormat, list[tuple[str, str]]]:
    """Look at the files; returns how their pixels are read, and (subject, details) pairs."""
    is_product = any(source.level for source in sources)
    one_band_each = len(sources[0].files) > 1
    fields = ImageFields(
        config.name,
        bands=config.sensor.names[:1] if one_band_each else config.sensor.names,
        channels=config.channels,
        sensor=config.sensor,
        dtype=config.dtype,
        scale=config.scale,
        offset=config.offset,
        nodata=config.nodata or ("0" if is_product else ""),
    )
    files = survey_images([source.files[0] for source in sources], fields)
    pixels = dataclasses.replace(files.format, bands=config.sensor.names)
    found = list(files.found)
    if one_band_each:
        pairs = zip(config.sensor.names, sources[0].files, strict=True)
        found[0] = ("bands", ", ".join(f"{band} from {file.name}" for band, file in pairs))
    if is_product:
        offsets = Counter(offset for source in sources for offset in source.offset)
        listed = ", ".join(f"{offset:g} to {n:,} files" for offset, n in sorted(offsets.items()))
        found.append(("offsets of the products", f"{listed}, by their metadata"))
    return pixels, found
