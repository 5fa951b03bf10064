"""`nasc_tg2`: Tiangong-2 images of 128 × 128 pixels at 100 m, labelled with ten scene classes.

Zhou et al. 2021, NaSC-TG2: Natural Scene Classification with Tiangong-2 Remotely Sensed Imagery
(https://ieeexplore.ieee.org/document/9366968). Copies of the dataset differ in their folders, and
the bands of the multispectral files are not documented. Therefore both are fields of the config.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.bands import TIANGONG2, Sensor, default_scale
from data_pipelines.class_folders.folders import (
    LabelledImage,
    check_images,
    find_images_of_classes,
    make_dataset_info,
    read_image,
    summarise_images,
)
from data_pipelines.errors import UserError
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.reading import Reading

__all__ = ["NascTg2", "NascTg2Config"]

SIZE = 128  # height and width of the images in pixels
CLASSES = (
    "beach",
    "circularfarmland",
    "cloud",
    "desert",
    "forest",
    "mountain",
    "rectangularfarmland",
    "residential",
    "river",
    "snowberg",
)
_CLASS_SIZE = 2000  # published number of images of each class
_RGB = ("red", "green", "blue")
_TIFF_SUFFIXES = (".tif", ".tiff")
# Names of folders of RGB images; excludes `RGBN`, `RGB_NIR`, `RGBI` and similar names.
_RGB_FOLDER = re.compile(r"rgb(?!n|i$|[ _-]*n?ir)", re.IGNORECASE)


@dataclass(eq=False, kw_only=True)
class NascTg2Config(tfds.core.BuilderConfig):
    """The files to read, and the bands to select.

    Attributes:
        bands: Bands of the images, a subset of red, green, blue and nir.
        dtype: Dtype of the files' pixels, `uint8` or `uint16`.
        channels: The files' channels that hold `bands`, numbered from 1. Default: the files have
            exactly these bands, in this order.
        folder: Read only folders whose path contains this text. Default: all folders.
    """

    bands: tuple[str, ...]
    dtype: str
    channels: tuple[int, ...] = ()
    folder: str = ""

    @property
    def sensor(self) -> Sensor:
        """Tiangong-2 with the bands of this config."""
        return TIANGONG2.select(self.bands).with_scale(default_scale(self.dtype))

    @property
    def pixels(self) -> PixelFormat:
        """How the files' pixels are read."""
        return PixelFormat(
            self.bands,
            self.dtype,
            self.channels,
            num_bands=0 if self.channels else len(self.bands),
            advice=f" for {', '.join(self.bands)}: set the channels of the files that hold these "
            "bands, and their dtype, with --config.channels=… --config.dtype=… --config.name=…",
        )


class NascTg2(tfds.core.GeneratorBasedBuilder):
    """Natural scenes of ten classes, 2,000 images each, taken by Tiangong-2.

    The only split is `train`, to be subdivided by a split expression such as `all[2:8]`. The same
    expression selects the same scenes in `rgb` and `rgbn` if their files have the same names.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        NascTg2Config(name="rgb", bands=_RGB, dtype="uint8"),
        NascTg2Config(name="rgbn", bands=(*_RGB, "nir"), dtype="uint16"),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    the folders of NaSC-TG2's ten classes, at any depth; zip archives need not be unpacked
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """The published number of examples of each split."""
        return {"train": _CLASS_SIZE * len(CLASSES)}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check_config(config)
        return make_dataset_info(self, config.sensor, SIZE, config.pixels, CLASSES)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        expected = f"the folders {', '.join(CLASSES)}"
        images = find_images_of_classes(folder, CLASSES, expected, config.folder)
        used = _select_images(images, rgb="nir" not in config.sensor.names)
        check_images(folder, used, CLASSES)
        read = functools.partial(read_image, size=SIZE, pixels=config.pixels)
        unused = sorted(set(images) - set(used))
        summary = summarise_images(used, unused, dict.fromkeys(CLASSES, _CLASS_SIZE))
        return Reading(used, read, {"train": len(used)}, summary).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _check_config(config: NascTg2Config) -> None:
    channels = config.channels
    valid = all(isinstance(channel, int) and channel > 0 for channel in channels)
    if channels and (not valid or len(channels) != len(config.bands)):
        raise UserError(
            f"--config.channels: found {channels}; expected {len(config.bands)} numbers from 1, "
            f"for {', '.join(config.bands)}"
        )


def _select_images(images: Sequence[LabelledImage], rgb: bool) -> list[LabelledImage]:
    """Select the RGB or the multispectral images, if the folder holds both.

    They are distinguished by the names of their folders and by their file format. A criterion that
    would leave no image is not applied.
    """

    def is_in_rgb_folder(image: LabelledImage) -> bool:
        return any(_RGB_FOLDER.search(name) for name in image.file.folders)

    def is_not_tiff(image: LabelledImage) -> bool:
        return image.file.suffix not in _TIFF_SUFFIXES

    selected = list(images)
    for is_rgb in (is_in_rgb_folder, is_not_tiff):
        selected = [image for image in selected if is_rgb(image) == rgb] or selected
    return selected
