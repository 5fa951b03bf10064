"""`geotiff_masks/NAME`: a user's own pictures with masks of classes, as windows.

    files/images/a.tif         python -m data_pipelines.build geotiff_masks/mine \\
    files/images/b.tif             --manual_dir files --data_dir data \\
    files/masks/a.tif              --config.classes=water,land
    files/masks/b.tif

Pictures may be GeoTIFF, PNG or JPEG, of any size and each of another. Folders `train`, `val` and
`test` among theirs become splits.
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

# Side of a window, in pixels, where pictures are no smaller.
_USUAL_WINDOW = 512
_INSTRUCTIONS = "a folder of images and one of masks"


@dataclass(eq=False, kw_only=True)
class GeotiffMasksConfig(tfds.core.BuilderConfig):
    """Which files, and what they hold; what is left empty is as the first image has it.

    Attributes:
        classes: their names, in the order of the masks' numbers or of the colours.
        colours: red, green and blue of each class in the masks, as `((255,0,0),(0,0,255))`; all
            other colours are of no class. Empty for masks of class numbers from 0.
        ignore_label: the number of pixels of no class, in masks of numbers.
        images: which files are images, as a pattern.
        masks: which are masks: those whose wildcards stand for the same as an image's.
        bands: of the images, in their order: names of the sensor's bands, else STAC's common names.
            Empty for red, green, blue of three bands, and with nir of four.
        sensor: one of `bands.SENSORS`; empty for one of its own, which is measured.
        resolution: ground sampling distance in metres; 0 for the sensor's, else the first image's.
        dtype: of the images' pixels, `uint8` or `uint16`.
        scale: physical units per digital number; 0 for 1/255 of uint8 and 1e-4 of uint16.
        window: side of a window, in pixels; 0 for 512, or as large as the first image if that is
            smaller. What windows see beyond the edge of a picture is 0, and of no class.
        stride: from one window to the next, in pixels; 0 for half a window, or for a whole one if
            its side is odd.
        validation: share of the pictures that go into the split of that name, if no folders
            `train`, `val` and `test` say more.
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
        """This config with what was left open filled in from the files.

        Raises:
            UserError: there are none, or they say less than is needed.
        """
        images, _ = pair_images_and_masks(folder, self.images, self.masks)
        first = _first_image(images.values())
        if not self.dtype and first.dtype not in ("uint8", "uint16"):
            raise UserError(
                f"file {first.file}: its pixels are {first.dtype}; expected uint8 or uint16"
            )
        window = self.window or min(_USUAL_WINDOW, *first.size)
        return dataclasses.replace(
            self,
            bands=self.bands or default_bands(first.file, first.bands),
            resolution=self.resolution or (0.0 if self.sensor else first.resolution),
            dtype=self.dtype or first.dtype,
            window=window,
            stride=self.stride or (window // 2 if window % 2 == 0 else window),
        )


class GeotiffMasks(tfds.core.GeneratorBasedBuilder):
    """A user's own pictures with masks, as cells that windows are put together from."""

    VERSION = tfds.core.Version("1.0.0")
    OPEN_CONFIG = GeotiffMasksConfig
    BUILDER_CONFIGS = ()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check(config)
        scale = config.scale or default_scale(config.dtype)
        return make_dataset_info(
            self,
            _reader(config),
            make_sensor(config.name, config.bands, config.resolution, scale, config.sensor),
            config.classes,
            config.colours or _spread_colours(len(config.classes)),
            {},
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        images, masks = pair_images_and_masks(folder, config.images, config.masks)
        splits = assign_splits(images, config.validation)
        bands = len(config.bands)
        pictures = [
            MaskedImage(name, splits[name], image, masks[name], bands)
            if name in masks
            else Unreadable(splits[name], _maskless(image, config, masks))
            for name, image in images.items()
        ]
        return make_reading(pictures, _reader(config)).splits()

    def _generate_examples(self) -> Any:
        """Not asked for: `_split_generators` returns the examples."""


@dataclass(frozen=True)
class _Image:
    """What the header of an image says.

    Attributes:
        file: itself.
        bands: how many.
        dtype: of its pixels.
        size: height and width, in pixels.
        resolution: in metres; 0 if it has no place on earth.
    """

    file: File
    bands: int
    dtype: str
    size: tuple[int, int]
    resolution: float


def _first_image(files: Iterable[File]) -> _Image:
    """The first image that can be opened."""
    mistakes = []
    for file in files:
        try:
            with gdal_environment(), open_raster(file) as raster:
                metres = raster.crs.linear_units_factor[1] if _is_projected(raster) else 0.0
                resolution = round(abs(raster.transform.a) * metres, 6)
                return _Image(file, raster.count, raster.dtypes[0], raster.shape, resolution)
        except UserError as error_message:  # told again, or skipped, when it is its turn
            mistakes.append(error_message)
    raise mistakes[0]


def _is_projected(raster: Any) -> bool:
    return bool(raster.crs) and raster.crs.is_projected


def _reader(config: GeotiffMasksConfig) -> BlockReader:
    legend: ColourLegend | NumberLegend
    if config.colours:
        legend = ColourLegend(config.colours)
    else:
        legend = NumberLegend(len(config.classes), config.ignore_label)
    return BlockReader(
        make_grid(config.window, config.stride), len(config.bands), config.dtype, legend
    )


def _check(config: GeotiffMasksConfig) -> None:
    """Whether the fields go together. Raises UserError."""
    if not config.dtype or not config.bands or not config.window:
        raise UserError(
            f"dataset geotiff_masks/{config.name}: reads files of yours; expected --manual_dir "
            f"with {_INSTRUCTIONS}"
        )
    classes = len(config.classes)
    if not 0 < classes <= IGNORE_LABEL:
        raise UserError(
            f"--config.classes: found {classes} names; expected 1 to {IGNORE_LABEL}, as "
            "--config.classes=NAME,NAME"
        )
    twice = [name for name in config.classes if config.classes.count(name) > 1]
    if twice:
        raise UserError(f"--config.classes: found {twice[0]!r} twice; expected each name once")
    if config.colours and not _are_colours(config.colours, classes):
        raise UserError(
            f"--config.colours: found {config.colours}; expected red, green and blue, 0 to 255, of "
            f"each of the {classes} classes, each another, as ((255,0,0),(0,0,255))"
        )
    if not config.colours and 0 <= config.ignore_label < classes:
        raise UserError(
            f"--config.ignore_label: found {config.ignore_label}, the number of class "
            f"{config.classes[config.ignore_label]}; expected none of 0 to {classes - 1}"
        )


def _are_colours(colours: tuple[Any, ...], classes: int) -> bool:
    three = all(isinstance(colour, tuple) and len(colour) == 3 for colour in colours)
    return (
        three
        and all(isinstance(part, int) and 0 <= part <= 255 for c in colours for part in c)
        and len(set(colours)) == len(colours) == classes
    )


def _spread_colours(count: int) -> list[tuple[int, int, int]]:
    """As many colours, for classes that have none: of all hues, bright and dark by turns."""
    hues = [(number / count, 0.9 if number % 2 else 0.6) for number in range(count)]
    colours = [colorsys.hsv_to_rgb(hue, 0.8, value) for hue, value in hues]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours]


def _maskless(image: File, config: GeotiffMasksConfig, masks: dict[str, File]) -> str:
    return (
        f"file {image}: has no mask; found {format_names(sorted(masks), 3)} that match "
        f"{config.masks}, "
        "expected one of the image's name, or --config.masks=PATTERN"
    )
