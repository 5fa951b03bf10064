r"""`class_folders/NAME`: a user's own labelled images, in one folder per class.

    files/beach/1.jpg          python -m data_pipelines.build class_folders/mine \
    files/forest/1.jpg             --manual_dir files --data_dir data

Folders `train`, `val` (or `validation`) and `test` directly above the class folders become splits.
Without them, all images are in the split `train`.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import Sensor, default_bands, default_scale, make_sensor
from data_pipelines.class_folders.folders import (
    LabelledImage,
    check_images,
    find_images_in_folders,
    make_dataset_info,
    normalise_name,
    read_image,
    summarise_images,
)
from data_pipelines.class_folders.images import read_pixels
from data_pipelines.errors import UserError
from data_pipelines.files.paths import SPLIT_FOLDERS, File
from data_pipelines.reading import Reading

__all__ = ["ClassFolders", "ClassFoldersConfig"]

_INSTRUCTIONS = (
    "a folder of class folders with jpg, png or tif images, which may be in zip archives"
)


@dataclass(eq=False, kw_only=True)
class ClassFoldersConfig(tfds.core.BuilderConfig):
    """Bands, classes and format of the images; empty fields are inferred from the files.

    Attributes:
        bands: Bands of the files, in order: names of the sensor's bands, or STAC common names.
            Default: red, green, blue for three bands, and red, green, blue, nir for four.
        classes: Class names in the order of the labels. Default: all folders in alphabetical order.
        sensor: A name in `bands.SENSORS`. Default: a new sensor, whose statistics are measured.
        resolution: Ground sampling distance in metres. Default (0): the sensor's.
        image_size: Height and width in pixels. Default (0): those of the first readable image.
        dtype: `uint8` or `uint16`. Default: that of the first readable image.
        scale: Physical units per digital number. Default (0): 1/255 for uint8, 1e-4 for uint16.
    """

    bands: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    sensor: str = ""
    resolution: float = 0.0
    image_size: int = 0
    dtype: str = ""
    scale: float = 0.0

    def of_files(self, folder: Path) -> "ClassFoldersConfig":
        """Return this config with its empty fields inferred from the files.

        Args:
            folder: The folder of class folders.

        Raises:
            UserError: If the folder holds no readable image, or if the first readable image is not
                square, is neither uint8 nor uint16 or has an unexpected number of bands.
        """
        images = _find_images(folder)
        if not self.classes:
            check_images(folder, images)
        classes = self.classes or tuple(sorted({image.label for image in images}))
        file, pixels = _read_first_image(images)
        height, width, count = pixels.shape
        if not self.image_size and height != width:
            raise UserError(
                f"file {file}: found {height} × {width} pixels; expected a square image"
            )
        if not self.dtype and str(pixels.dtype) not in ("uint8", "uint16"):
            raise UserError(f"file {file}: found dtype {pixels.dtype}; expected uint8 or uint16")
        return dataclasses.replace(
            self,
            bands=self.bands or default_bands(file, count),
            classes=classes,
            image_size=self.image_size or height,
            dtype=self.dtype or str(pixels.dtype),
        )

    @property
    def described_sensor(self) -> Sensor:
        """The sensor, with the bands of the files."""
        scale = self.scale or default_scale(self.dtype)
        return make_sensor(self.name, self.bands, self.resolution, scale, self.sensor)


class ClassFolders(tfds.core.GeneratorBasedBuilder):
    """A user's own images, labelled by the names of their folders."""

    VERSION = tfds.core.Version("1.0.0")
    OPEN_CONFIG = ClassFoldersConfig
    BUILDER_CONFIGS = ()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        if not config.classes or not config.image_size:
            raise UserError(
                f"dataset {self.name}: reads your own files; expected --manual_dir with "
                + _INSTRUCTIONS
            )
        return make_dataset_info(
            self, config.described_sensor, config.image_size, config.dtype, config.classes
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        images = _find_images(folder)
        used = [image for image in images if image.label in config.classes]
        check_images(folder, used, config.classes)
        unused = [image for image in images if image.label not in config.classes]
        read = functools.partial(
            read_image, size=config.image_size, dtype=config.dtype, bands=len(config.bands)
        )
        counts = Counter(image.split for image in used)
        order = dict.fromkeys(SPLIT_FOLDERS.values())
        expected = {split: counts[split] for split in order if counts[split]}
        summary = [
            (
                "images",
                f"{config.image_size} × {config.image_size} pixels, {config.dtype}, "
                f"{', '.join(config.described_sensor.names)}",
            ),
            *summarise_images(used, unused, {}),
        ]
        return Reading(used, read, expected, summary).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _find_images(folder: Path) -> list[LabelledImage]:
    """Find all images below a folder, with their splits."""
    images = find_images_in_folders(folder)
    for image in images:
        if normalise_name(image.label) in SPLIT_FOLDERS:
            raise UserError(
                f"file {image.file}: is in the folder {image.label}, which is a split; expected "
                "class folders in it"
            )
    splits = [
        SPLIT_FOLDERS.get(normalise_name(image.parents[-1])) if image.parents else None
        for image in images
    ]
    if any(splits) and not all(splits):
        inside = images[splits.index(next(filter(None, splits)))]
        outside = images[splits.index(None)]
        raise UserError(
            f"folder {folder}: {inside.file} is in a split, {outside.file} in none; expected all "
            "class folders in train, validation and test, or none of them"
        )
    return [
        image._replace(split=split or "train") for image, split in zip(images, splits, strict=True)
    ]


def _read_first_image(images: Sequence[LabelledImage]) -> tuple[File, np.ndarray]:
    """Read the first readable image; raises the first error if there is none."""
    errors = []
    for image in images:
        try:
            return image.file, read_pixels(image.file)
        except UserError as error:  # reported or skipped later, when the examples are read
            errors.append(error)
    raise errors[0]
