r"""`class_folders/NAME`: a user's own labelled images, in one folder per class.

    files/beach/1.jpg          python -m data_pipelines.build class_folders/mine \
    files/forest/1.jpg             --manual_dir files --data_dir data

Folders `train`, `val` (or `validation`) and `test` directly above the class folders become splits.
Without them, all images are in the split `train`.
"""

import dataclasses
import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.class_folders.folders import (
    LabelledImage,
    check_images,
    describe_spellings,
    find_images_in_folders,
    make_dataset_info,
    normalise_name,
    read_image,
    summarise_images,
)
from data_pipelines.errors import UserError
from data_pipelines.files.paths import SPLIT_FOLDERS, format_counts
from data_pipelines.imagery.fitting import METHODS
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.imagery.survey import (
    ImageFields,
    ImageFiles,
    describe_reading,
    require_files,
    survey_images,
)
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
            Where the files name their bands, they are found by name. Default: the files' own
            names, else red, green, blue of three bands, and red, green, blue, nir of four.
        channels: Numbers, from 1, of the files' bands that hold `bands`. Default: to find them.
        classes: Class names in the order of the labels. Default: all folders in alphabetical order.
        sensor: A name in `bands.SENSORS`. Default: a new sensor, whose statistics are measured.
        resolution: Ground sampling distance in metres. Default (0): the sensor's, or the files'.
        image_size: Height and width in pixels. Default (0): those of most images.
        fit: How images of another size are brought to it: `refuse`, `crop`, `resize`, `pad`.
        dtype: Dtype of the files' pixels; any but `uint8` and `uint16` needs a `scale`. Default:
            that of most images.
        scale: Physical units per number. Default (0): 1/255 for uint8, 1e-4 for uint16.
        offset: Added to the files' numbers, -1000 for Sentinel-2 since baseline 04.00.
        nodata: Value of pixels without data, `nan`, or `none`. Default: what the files say.
        files: What the image files hold; set by `of_files`.
    """

    bands: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    sensor: str = ""
    resolution: float = 0.0
    image_size: int = 0
    fit: str = "refuse"
    dtype: str = ""
    scale: float = 0.0
    offset: float = 0.0
    nodata: str = ""
    files: ImageFiles | None = None

    def of_files(self, folder: Path) -> "ClassFoldersConfig":
        """Return this config with its empty fields inferred from the files.

        Args:
            folder: The folder of class folders.

        Raises:
            UserError: If the folder holds no readable image, or if most images are not square, or
                the meaning of their bands or numbers is not known.
        """
        if self.fit not in METHODS:
            raise UserError(
                f"--config.fit: found {self.fit!r}; expected one of {', '.join(METHODS)}"
            )
        images = _find_images(folder)
        if not self.classes:
            check_images(folder, images)
        files = survey_images([image.file for image in images], ImageFields.of(self))
        height, width = files.size
        if not self.image_size and height != width:
            file = next(h.file for h in files.headers if h.size == files.size)
            raise UserError(
                f"file {file}: has {height} × {width} pixels, as most images; expected square "
                "ones, or --config.image_size=SIDE with --config.fit=crop, resize or pad"
            )
        return dataclasses.replace(
            self,
            classes=self.classes or tuple(sorted({image.label for image in images})),
            image_size=self.image_size or height,
            files=files,
        )


class ClassFolders(tfds.core.GeneratorBasedBuilder):
    """A user's own images, labelled by the names of their folders."""

    VERSION = tfds.core.Version("1.0.0")
    OPEN_CONFIG = ClassFoldersConfig
    BUILDER_CONFIGS = ()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        files = _get_files(config)
        info = make_dataset_info(
            self, files.sensor, config.image_size, _get_format(config), config.classes
        )
        fields = ("channels", "offset", "nodata", "fit")
        info.metadata.update(describe_reading(config, fields, files.format))
        return info

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        names = {normalise_name(name): name for name in config.classes}
        if len(names) < len(config.classes):
            raise UserError(
                f"--config.classes: found {', '.join(config.classes)}; expected names that differ "
                "by more than case, blanks, - and _"
            )
        aside: Counter[str] = Counter()
        images = [
            image._replace(label=names.get(normalise_name(image.label), image.label))
            for image in _find_images(folder, aside)
        ]
        used = [image for image in images if image.label in config.classes]
        check_images(folder, used, config.classes)
        unused = [image for image in images if image.label not in config.classes]
        read = functools.partial(
            read_image, size=config.image_size, pixels=_get_format(config), fit=config.fit
        )
        counts = Counter(image.split for image in used)
        order = dict.fromkeys(SPLIT_FOLDERS.values())
        expected = {split: counts[split] for split in order if counts[split]}
        found = [
            ("images", _describe_sizes(config)),
            *_get_files(config).found,
            *summarise_images(used, unused, {}),
        ]
        if aside.total():
            found.append(("left aside", format_counts(aside)))
        if spellings := describe_spellings(used):
            found.append(("one class each", spellings))
        return Reading(used, read, expected, found).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _get_files(config: ClassFoldersConfig) -> ImageFiles:
    return require_files(config.files, f"class_folders/{config.name}", _INSTRUCTIONS)


def _get_format(config: ClassFoldersConfig) -> PixelFormat:
    """Return how pixels are read; those that are padded have no data."""
    pixels = _get_files(config).format
    return dataclasses.replace(pixels, has_nodata=pixels.has_nodata or config.fit == "pad")


def _describe_sizes(config: ClassFoldersConfig) -> str:
    size, headers = config.image_size, _get_files(config).headers
    text = f"{size} × {size} pixels"
    others = [header for header in headers if header.size != (size, size)]
    if not others:
        return text
    height, width = others[0].size
    fit = {"refuse": "refused (see --config.fit)", "crop": "cropped", "pad": "padded"}
    return (
        f"{text}; {len(others):,} of {len(headers):,} have another size, such as {others[0].file}, "
        f"{height} × {width}: {fit.get(config.fit, 'resized')}"
    )


def _find_images(folder: Path, aside: Counter[str] | None = None) -> list[LabelledImage]:
    """Find all images below a folder, with their splits; `aside` counts other files."""
    images = find_images_in_folders(folder, aside)
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
