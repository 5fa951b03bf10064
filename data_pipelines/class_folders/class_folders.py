"""`class_folders/NAME`: a user's own labelled images, one folder for each class.

    files/beach/1.jpg          python -m data_pipelines.build class_folders/mine \\
    files/forest/1.jpg             --manual_dir files --data_dir data

Folders `train`, `val` (or `validation`) and `test` that stand directly above the class folders
become splits; without them there is one split, `train`.
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
    count_images,
    find_images_in_folders,
    make_dataset_info,
    normalise_name,
    read_image,
)
from data_pipelines.class_folders.images import read_pixels
from data_pipelines.errors import UserError
from data_pipelines.files.paths import SPLIT_FOLDERS, File
from data_pipelines.reading import Reading

__all__ = ["ClassFolders", "ClassFoldersConfig"]

_INSTRUCTIONS = "a folder of class folders with images, jpg, png or tif; they may be zipped"


@dataclass(eq=False, kw_only=True)
class ClassFoldersConfig(tfds.core.BuilderConfig):
    """What the files don't say of themselves; what is left empty is as the first file has it.

    Attributes:
        bands: of the files, in their order: names of the sensor's bands, else STAC's common names.
            Empty for red, green, blue of three bands, and with nir of four.
        classes: their names in the order of the labels; empty for all folders in the order of
            their names.
        sensor: one of `bands.SENSORS`; empty for one of its own, which is measured.
        resolution: ground sampling distance in metres; 0 for the sensor's.
        image_size: height and width in pixels; 0 as found.
        dtype: `uint8` or `uint16`; empty as found.
        scale: physical units per digital number; 0 for 1/255 of uint8 and 1e-4 of uint16.
    """

    bands: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    sensor: str = ""
    resolution: float = 0.0
    image_size: int = 0
    dtype: str = ""
    scale: float = 0.0

    def of_files(self, folder: Path) -> "ClassFoldersConfig":
        """This config with what was left open filled in from the files.

        Raises:
            UserError: there are none, or they say less than is needed.
        """
        scenes = _scenes(folder)
        if not self.classes:
            check_images(folder, scenes)
        classes = self.classes or tuple(sorted({scene.label for scene in scenes}))
        file, pixels = _first_image(scenes)
        height, width, count = pixels.shape
        if not self.image_size and height != width:
            raise UserError(f"file {file}: has {height} × {width} pixels; expected a square image")
        if not self.dtype and str(pixels.dtype) not in ("uint8", "uint16"):
            raise UserError(f"file {file}: its pixels are {pixels.dtype}; expected uint8 or uint16")
        return dataclasses.replace(
            self,
            bands=self.bands or default_bands(file, count),
            classes=classes,
            image_size=self.image_size or height,
            dtype=self.dtype or str(pixels.dtype),
        )

    @property
    def described_sensor(self) -> Sensor:
        """The sensor with the files' bands."""
        scale = self.scale or default_scale(self.dtype)
        return make_sensor(self.name, self.bands, self.resolution, scale, self.sensor)


class ClassFolders(tfds.core.GeneratorBasedBuilder):
    """A user's own images, labelled by the folders they lie in."""

    VERSION = tfds.core.Version("1.0.0")
    OPEN_CONFIG = ClassFoldersConfig
    BUILDER_CONFIGS = ()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        if not config.classes or not config.image_size:
            raise UserError(
                f"dataset {self.name}: reads files of yours; expected --manual_dir with "
                + _INSTRUCTIONS
            )
        return make_dataset_info(
            self, config.described_sensor, config.image_size, config.dtype, config.classes
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        scenes = _scenes(folder)
        chosen = [scene for scene in scenes if scene.label in config.classes]
        check_images(folder, chosen, config.classes)
        unused = [scene for scene in scenes if scene.label not in config.classes]
        read = functools.partial(
            read_image, size=config.image_size, dtype=config.dtype, bands=len(config.bands)
        )
        numbers = Counter(scene.split for scene in chosen)
        order = dict.fromkeys(SPLIT_FOLDERS.values())
        expected = {split: numbers[split] for split in order if numbers[split]}
        found = [
            (
                "images",
                f"{config.image_size} × {config.image_size} pixels, {config.dtype}, "
                f"{', '.join(config.described_sensor.names)}",
            ),
            *count_images(chosen, unused, {}),
        ]
        return Reading(chosen, read, expected, found).splits()

    def _generate_examples(self) -> Any:
        """Not asked for: `_split_generators` returns the examples."""


def _scenes(folder: Path) -> list[LabelledImage]:
    """All images below a folder with their splits."""
    scenes = find_images_in_folders(folder)
    for scene in scenes:
        if normalise_name(scene.label) in SPLIT_FOLDERS:
            raise UserError(
                f"file {scene.file}: lies in a folder {scene.label}, which means a split; expected "
                "class folders in that"
            )
    splits = [
        SPLIT_FOLDERS.get(normalise_name(scene.above[-1])) if scene.above else None
        for scene in scenes
    ]
    if any(splits) and not all(splits):
        inside, beside = (
            scenes[splits.index(next(filter(None, splits)))],
            scenes[splits.index(None)],
        )
        raise UserError(
            f"folder {folder}: {inside.file} is in a split, {beside.file} in none; expected all "
            "class folders in train, validation and test, or all in none of them"
        )
    return [s._replace(split=split or "train") for s, split in zip(scenes, splits, strict=True)]


def _first_image(scenes: Sequence[LabelledImage]) -> tuple[File, np.ndarray]:
    """The first image that can be read."""
    mistakes = []
    for scene in scenes:
        try:
            return scene.file, read_pixels(scene.file)
        except UserError as error_message:  # told again, or skipped, when it is its turn
            mistakes.append(error_message)
    raise mistakes[0]
