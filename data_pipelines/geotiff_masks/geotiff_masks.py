r"""`geotiff_masks/NAME`: a user's own images with masks, as windows.

    files/images/a.tif         python -m data_pipelines.build geotiff_masks/mine \
    files/images/b.tif             --manual_dir files --data_dir data \
    files/masks/a.tif              --config.classes=water,land
    files/masks/b.tif

Images may be GeoTIFF, PNG or JPEG, each of any size. Folders `train`, `val` and `test` in their
paths become splits.
"""

import colorsys
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.bands import default_bands, default_scale, make_sensor
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, format_names
from data_pipelines.files.rasters import gdal_environment, open_raster
from data_pipelines.geotiff_masks.pairs import assign_splits, pair_images_and_masks
from data_pipelines.masked_images.blocks import BlockReader, MaskedImage
from data_pipelines.masked_images.dataset import make_dataset_info, make_grid, make_reading
from data_pipelines.masked_images.legends import IGNORE_LABEL, ColourLegend, NumberLegend
from data_pipelines.reading import Unreadable

__all__ = ["GeotiffMasks", "GeotiffMasksConfig"]

# Side of a window, in pixels, unless the first image is smaller.
_DEFAULT_WINDOW = 512
_INSTRUCTIONS = "a folder of images and one of masks"


@dataclass(eq=False, kw_only=True)
class GeotiffMasksConfig(tfds.core.BuilderConfig):
    """The files to read and their contents; empty fields are inferred from the first image.

    Attributes:
        classes: Names of the classes, in the order of the masks' class numbers or of `colours`.
        colours: Red, green and blue of each class in the masks, as `((255,0,0),(0,0,255))`; all
            other colours are unlabelled. Empty for masks of class numbers from 0.
        ignore_label: Value of unlabelled pixels, in masks of class numbers.
        images: Pattern of the image files.
        masks: Pattern of the mask files. The mask of an image is the file for which the wildcards
            match the same text.
        bands: Bands of the images, in order: names of the sensor's bands, else STAC common names.
            Empty for red, green, blue of three bands, and also nir of four.
        sensor: One of `bands.SENSORS`; empty for a new sensor, whose statistics are computed.
        resolution: Ground sampling distance in metres; 0 for the sensor's, else the first image's.
        dtype: Dtype of the images' pixels, `uint8` or `uint16`.
        scale: Physical units per digital number; 0 for 1/255 of uint8 and 1e-4 of uint16.
        window: Side of a window, in pixels; 0 for 512, or the shorter side of the first image if
            that is smaller. Pixels of windows outside the image are 0 and unlabelled.
        stride: Distance from one window to the next, in pixels; 0 for half a window, or for a
            whole one if its side is odd.
        validation: Fraction of the images in the split `validation`, if there are no folders
            `train`, `val` and `test`.
    """

    classes: tuple[str, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    ignore_label: int = IGNORE_LABEL
    images: str = "**/images/**/*"
    masks: str = "**/masks/**/*"
    bands: tuple[str, ...] = ()
    sensor: str = ""
    resolution: float = 0.0
    dtype: str = ""
    scale: float = 0.0
    window: int = 0
    stride: int = 0
    validation: float = 0.1

    def of_files(self, folder: Path) -> "GeotiffMasksConfig":
        """Return this config with empty fields inferred from the files.

        Args:
            folder: The folder of images and masks.

        Raises:
            UserError: If there is no readable image, or if its bands or dtype can't be inferred.
        """
        images, _ = pair_images_and_masks(folder, self.images, self.masks)
        header = _read_first_header(images.values())
        if not self.dtype and header.dtype not in ("uint8", "uint16"):
            raise UserError(
                f"file {header.file}: its pixels are {header.dtype}; expected uint8 or uint16"
            )
        window = self.window or min(_DEFAULT_WINDOW, *header.size)
        return dataclasses.replace(
            self,
            bands=self.bands or default_bands(header.file, header.num_bands),
            resolution=self.resolution or (0.0 if self.sensor else header.resolution),
            dtype=self.dtype or header.dtype,
            window=window,
            stride=self.stride or (window // 2 if window % 2 == 0 else window),
        )


class GeotiffMasks(tfds.core.GeneratorBasedBuilder):
    """A user's own images with masks, as blocks that are joined to windows."""

    VERSION = tfds.core.Version("1.0.0")
    OPEN_CONFIG = GeotiffMasksConfig
    BUILDER_CONFIGS = ()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check_config(config)
        scale = config.scale or default_scale(config.dtype)
        return make_dataset_info(
            self,
            _make_reader(config),
            make_sensor(config.name, config.bands, config.resolution, scale, config.sensor),
            config.classes,
            config.colours or _make_colours(len(config.classes)),
            {},
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        images, masks = pair_images_and_masks(folder, config.images, config.masks)
        splits = assign_splits(images, config.validation)
        bands = len(config.bands)
        sources = [
            MaskedImage(name, splits[name], image, masks[name], bands)
            if name in masks
            else Unreadable(splits[name], _format_missing_mask(image, config, masks))
            for name, image in images.items()
        ]
        return make_reading(sources, _make_reader(config)).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


@dataclass(frozen=True)
class _ImageHeader:
    """The header of an image file.

    Attributes:
        file: The image file.
        num_bands: Number of bands.
        dtype: Dtype of the pixels.
        size: Height and width, in pixels.
        resolution: Pixel size in metres; 0 if the image has no projected coordinates.
    """

    file: File
    num_bands: int
    dtype: str
    size: tuple[int, int]
    resolution: float


def _read_first_header(files: Iterable[File]) -> _ImageHeader:
    """Read the header of the first image that can be opened."""
    errors = []
    for file in files:
        try:
            with gdal_environment(), open_raster(file) as raster:
                metres = raster.crs.linear_units_factor[1] if _is_projected(raster) else 0.0
                resolution = round(abs(raster.transform.a) * metres, 6)
                return _ImageHeader(file, raster.count, raster.dtypes[0], raster.shape, resolution)
        except UserError as error:  # raised again, or skipped, when the file is read
            errors.append(error)
    raise errors[0]


def _is_projected(raster: Any) -> bool:
    return bool(raster.crs) and raster.crs.is_projected


def _make_reader(config: GeotiffMasksConfig) -> BlockReader:
    legend: ColourLegend | NumberLegend
    if config.colours:
        legend = ColourLegend(config.colours)
    else:
        legend = NumberLegend(len(config.classes), config.ignore_label)
    return BlockReader(
        make_grid(config.window, config.stride), len(config.bands), config.dtype, legend
    )


def _check_config(config: GeotiffMasksConfig) -> None:
    """Check that the fields are valid and consistent.

    Raises:
        UserError: If they aren't.
    """
    if not config.dtype or not config.bands or not config.window:
        raise UserError(
            f"dataset geotiff_masks/{config.name}: reads your own files; expected --manual_dir "
            f"with {_INSTRUCTIONS}"
        )
    num_classes = len(config.classes)
    if not 0 < num_classes <= IGNORE_LABEL:
        raise UserError(
            f"--config.classes: found {num_classes} names; expected 1 to {IGNORE_LABEL}, as "
            "--config.classes=NAME,NAME"
        )
    duplicates = [name for name in config.classes if config.classes.count(name) > 1]
    if duplicates:
        raise UserError(f"--config.classes: found {duplicates[0]!r} twice; expected each name once")
    if config.colours and not _are_valid_colours(config.colours, num_classes):
        raise UserError(
            f"--config.colours: found {config.colours}; expected red, green and blue, 0 to 255, of "
            f"each of the {num_classes} classes, all different, as ((255,0,0),(0,0,255))"
        )
    if not config.colours and 0 <= config.ignore_label < num_classes:
        raise UserError(
            f"--config.ignore_label: found {config.ignore_label}, the number of class "
            f"{config.classes[config.ignore_label]}; expected none of 0 to {num_classes - 1}"
        )


def _are_valid_colours(colours: tuple[Any, ...], num_classes: int) -> bool:
    are_triples = all(isinstance(colour, tuple) and len(colour) == 3 for colour in colours)
    return (
        are_triples
        and all(isinstance(value, int) and 0 <= value <= 255 for c in colours for value in c)
        and len(set(colours)) == len(colours) == num_classes
    )


def _make_colours(count: int) -> list[tuple[int, int, int]]:
    """Make colours for classes without: evenly spaced hues, alternately dark and bright."""
    hues = [(number / count, 0.9 if number % 2 else 0.6) for number in range(count)]
    colours = [colorsys.hsv_to_rgb(hue, 0.8, value) for hue, value in hues]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours]


def _format_missing_mask(image: File, config: GeotiffMasksConfig, masks: dict[str, File]) -> str:
    names = format_names(sorted(masks), 3)
    return (
        f"file {image}: has no mask; found {names} that match {config.masks}; expected a mask of "
        "the image's name, or --config.masks=PATTERN"
    )
