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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, format_counts, format_names
from data_pipelines.geotiff_masks.pairs import assign_splits, pair_images_and_masks
from data_pipelines.imagery.headers import Header, read_headers
from data_pipelines.imagery.places import describe_shared_places, group_by_place
from data_pipelines.imagery.survey import (
    ImageFields,
    ImageFiles,
    describe_reading,
    require_files,
    survey_images,
)
from data_pipelines.masked_images.blocks import BlockReader, MaskedImage
from data_pipelines.masked_images.dataset import make_dataset_info, make_grid, make_reading
from data_pipelines.masked_images.legends import IGNORE_LABEL, ColourLegend, NumberLegend
from data_pipelines.masked_images.survey import survey_colours, survey_numbers
from data_pipelines.reading import Unreadable

__all__ = ["GeotiffMasks", "GeotiffMasksConfig"]

# Side of a window, in pixels, unless the images are smaller.
_DEFAULT_WINDOW = 512
# Fields that change the stored pixels, besides those that are stored anyway.
_READING = ("channels", "offset", "nodata", "values", "colour_tolerance", "ignore_label")
_INSTRUCTIONS = "a folder of images and one of masks"


@dataclass(eq=False, kw_only=True)
class GeotiffMasksConfig(tfds.core.BuilderConfig):
    """The files to read and their contents; empty fields are inferred from the files.

    Attributes:
        classes: Names of the classes, in the order of the masks' class numbers, of `values` or of
            `colours`.
        values: Number of each class in the masks; empty for numbers from 0.
        colours: Red, green and blue of each class in the masks, as `((255,0,0),(0,0,255))`; all
            other colours are unlabelled. Empty for masks of class numbers.
        colour_tolerance: Largest difference, in any channel, from the colour of a class.
        unlabelled: Colours that mean unlabelled, so that many such pixels are no error.
        ignore_label: Value of unlabelled pixels, in masks of class numbers.
        images: Pattern of the image files.
        masks: Pattern of the mask files. The mask of an image is the file for which the wildcards
            match the same text.
        bands: Bands of the images, in order: names of the sensor's bands, else STAC common names.
            Where the files name their bands, they are found by name. Empty for the files' own
            names, else for red, green, blue of three bands, and also nir of four.
        channels: Numbers, from 1, of the files' bands that hold `bands`; empty to find them.
        sensor: One of `bands.SENSORS`; empty for a new sensor, whose statistics are computed.
        resolution: Ground sampling distance in metres; 0 for the sensor's, else the images'.
        dtype: Dtype of the images' pixels; any but `uint8` and `uint16` needs a `scale`.
        scale: Physical units per number of the files; 0 for 1/255 of uint8 and 1e-4 of uint16.
        offset: Added to the files' numbers, -1000 for Sentinel-2 since baseline 04.00.
        nodata: Value of pixels without data, `nan`, or `none`; empty for what the files say.
        window: Side of a window, in pixels; 0 for 512, or the shorter side of the commonest image
            if that is smaller. Pixels of windows outside the image are 0 and unlabelled.
        stride: Distance from one window to the next, in pixels; 0 for half a window, or for a
            whole one if its side is odd.
        validation: Fraction of the images in the split `validation`, if there are no folders
            `train`, `val` and `test`.
        files: What the image files hold; set by `of_files`.
    """

    classes: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    colour_tolerance: int = 0
    unlabelled: tuple[tuple[int, int, int], ...] = ()
    ignore_label: int = IGNORE_LABEL
    images: str = "**/images/**/*"
    masks: str = "**/masks/**/*"
    bands: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    sensor: str = ""
    resolution: float = 0.0
    dtype: str = ""
    scale: float = 0.0
    offset: float = 0.0
    nodata: str = ""
    window: int = 0
    stride: int = 0
    validation: float = 0.1
    files: ImageFiles | None = None

    def of_files(self, folder: Path) -> "GeotiffMasksConfig":
        """Return this config with empty fields inferred from the files.

        Args:
            folder: The folder of images and masks.

        Raises:
            UserError: If there is no readable image, or if the meaning of its bands or numbers is
                not known.
        """
        images, _ = pair_images_and_masks(folder, self.images, self.masks)
        files = survey_images([*images.values()], ImageFields.of(self))
        window = self.window or min(_DEFAULT_WINDOW, *files.size)
        return dataclasses.replace(
            self,
            files=files,
            window=window,
            stride=self.stride or (window // 2 if window % 2 == 0 else window),
        )

    @property
    def legend(self) -> ColourLegend | NumberLegend:
        """What the pixels of the masks mean."""
        if self.colours:
            return ColourLegend(self.colours, tolerance=self.colour_tolerance)
        return NumberLegend(self.values or tuple(range(len(self.classes))), self.ignore_label)


class GeotiffMasks(tfds.core.GeneratorBasedBuilder):
    """A user's own images with masks, as blocks that are joined to windows."""

    VERSION = tfds.core.Version("1.0.0")
    OPEN_CONFIG = GeotiffMasksConfig
    BUILDER_CONFIGS = ()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check_config(config)
        files = _get_files(config)
        return make_dataset_info(
            self,
            _make_reader(config),
            files.sensor,
            config.classes,
            config.colours or _make_colours(len(config.classes)),
            describe_reading(config, _READING, files.format),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        aside: Counter[str] = Counter()
        images, masks = pair_images_and_masks(folder, config.images, config.masks, aside)
        headers = _find_headers(images, _get_files(config))
        splits = assign_splits(images, config.validation, group_by_place(headers))
        paired = [masks[name] for name in images if name in masks]
        found = [*_get_files(config).found, ("masks", _survey_masks(paired, config))]
        if shared := describe_shared_places(headers, splits):
            found.append(("warning", shared))
        if aside.total():
            found.append(("left aside", format_counts(aside)))
        sources = [
            MaskedImage(name, splits[name], image, masks[name])
            if name in masks
            else Unreadable(splits[name], _format_missing_mask(image, config, masks))
            for name, image in images.items()
        ]
        return make_reading(sources, _make_reader(config), found).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _get_files(config: GeotiffMasksConfig) -> ImageFiles:
    return require_files(config.files, f"geotiff_masks/{config.name}", _INSTRUCTIONS)


def _find_headers(images: Mapping[str, File], files: ImageFiles) -> dict[str, Header]:
    """Return the headers of the images that can be opened, by name."""
    headers = files.headers
    if len(headers) < len(images):  # some weren't looked at, or can't be opened
        headers = tuple(read_headers(images.values())[0])
    by_file = {header.file: header for header in headers}
    return {name: by_file[file] for name, file in images.items() if file in by_file}


def _make_reader(config: GeotiffMasksConfig) -> BlockReader:
    grid = make_grid(config.window, config.stride)
    return BlockReader(grid, _get_files(config).format, config.legend)


def _survey_masks(masks: Sequence[File], config: GeotiffMasksConfig) -> str:
    legend = config.legend
    if isinstance(legend, ColourLegend):
        return survey_colours(masks, config.classes, legend, config.unlabelled)
    return survey_numbers(masks, config.classes, legend, bool(config.values))


def _check_config(config: GeotiffMasksConfig) -> None:
    """Check that the fields are valid and consistent.

    Raises:
        UserError: If they aren't.
    """
    _get_files(config)
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
    if not _are_valid_colours(config.unlabelled, len(config.unlabelled)):
        raise UserError(
            f"--config.unlabelled: found {config.unlabelled}; expected red, green and blue, 0 to "
            "255, of colours that mean unlabelled, as ((0,0,0),)"
        )
    if not 0 <= config.colour_tolerance <= 127:
        raise UserError(
            f"--config.colour_tolerance: found {config.colour_tolerance}; expected 0 to 127"
        )
    if not config.colours:
        _check_values(config)


def _check_values(config: GeotiffMasksConfig) -> None:
    """Check the numbers of the classes and of unlabelled pixels."""
    count, values = len(config.classes), config.values
    are_numbers = all(isinstance(value, int) for value in values)
    if values and (not are_numbers or len(set(values)) < len(values) or len(values) != count):
        raise UserError(
            f"--config.values: found {values}; expected a number for each of the {count} classes "
            f"{', '.join(config.classes)}, all different"
        )
    numbers = values or tuple(range(count))
    if config.ignore_label in numbers and config.ignore_label != IGNORE_LABEL:
        name = config.classes[numbers.index(config.ignore_label)]
        others = ",".join(str(n) for n in range(count + 1) if n != config.ignore_label)
        raise UserError(
            f"--config.ignore_label: found {config.ignore_label}, the number of class {name}; "
            f"expected none of {', '.join(map(str, numbers))}, or other numbers of the classes, "
            f"such as --config.values={others}"
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
