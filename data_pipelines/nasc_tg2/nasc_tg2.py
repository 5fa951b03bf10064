"""`nasc_tg2`: scenes seen by Tiangong-2, 128 × 128 pixels of 100 m, with one label each.

Zhou et al. 2021, NaSC-TG2: Natural Scene Classification with Tiangong-2 Remotely Sensed Imagery
(https://ieeexplore.ieee.org/document/9366968). Copies differ in their folders, and nobody publishes
the bands of the multispectral files: whatever is not certain is a field of the config.
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
    count_images,
    find_images_of_classes,
    make_dataset_info,
    read_image,
)
from data_pipelines.errors import UserError
from data_pipelines.reading import Reading

__all__ = ["NascTg2", "NascTg2Config"]

SIZE = 128
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
_PER_CLASS = 2000
_RGB = ("red", "green", "blue")
_TIFF = (".tif", ".tiff")
# A folder of pictures in red, green and blue; `RGBN`, `RGB_NIR`, `RGBI` and the like are none.
_RGB_FOLDER = re.compile(r"rgb(?!n|i$|[ _-]*n?ir)", re.IGNORECASE)


@dataclass(eq=False, kw_only=True)
class NascTg2Config(tfds.core.BuilderConfig):
    """Which files, and what of them.

    Attributes:
        bands: of the images, some of red, green, blue and nir.
        dtype: of the files' pixels, `uint8` or `uint16`.
        channels: of the files, those of `bands`, counted from 1; empty if the files have these
            bands and no others, in this order.
        folder: look only in folders whose path contains this text; empty for everywhere.
    """

    bands: tuple[str, ...]
    dtype: str
    channels: tuple[int, ...] = ()
    folder: str = ""

    @property
    def sensor(self) -> Sensor:
        """The bands asked for."""
        return TIANGONG2.select(self.bands).with_scale(default_scale(self.dtype))


class NascTg2(tfds.core.GeneratorBasedBuilder):
    """Natural scenes of ten classes, 2,000 each, seen by Tiangong-2.

    There is one split, `train`, which the user cuts: `all[2:8]`. Scenes are named alike in `rgb`
    and `rgbn` if their files are, and then the same cut has the same scenes.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        NascTg2Config(name="rgb", bands=_RGB, dtype="uint8"),
        NascTg2Config(name="rgbn", bands=(*_RGB, "nir"), dtype="uint16"),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    the folders of NaSC-TG2's ten classes, at any depth; archives may be zipped still
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """Examples in each split, as published."""
        return {"train": _PER_CLASS * len(CLASSES)}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check(config)
        return make_dataset_info(self, config.sensor, SIZE, config.dtype, CLASSES)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        wanted = f"the folders {', '.join(CLASSES)}"
        scenes = find_images_of_classes(folder, CLASSES, wanted, config.folder)
        chosen = _chosen(scenes, pictures="nir" not in config.sensor.names)
        check_images(folder, chosen, CLASSES)
        read = functools.partial(
            read_image,
            size=SIZE,
            dtype=config.dtype,
            bands=0 if config.channels else len(config.bands),
            channels=config.channels,
            advice=f" for {', '.join(config.bands)}: say which channels of the files these are, "
            "and their dtype, with --config.channels=… --config.dtype=… --config.name=…",
        )
        unused = sorted(set(scenes) - set(chosen))
        found = count_images(chosen, unused, dict.fromkeys(CLASSES, _PER_CLASS))
        return Reading(chosen, read, {"train": len(chosen)}, found).splits()

    def _generate_examples(self) -> Any:
        """Not asked for: `_split_generators` returns the examples."""


def _check(config: NascTg2Config) -> None:
    channels = config.channels
    known = all(isinstance(channel, int) and channel > 0 for channel in channels)
    if channels and (not known or len(channels) != len(config.bands)):
        raise UserError(
            f"--config.channels: found {channels}; expected {len(config.bands)} numbers from 1, "
            f"for {', '.join(config.bands)}"
        )


def _chosen(scenes: Sequence[LabelledImage], pictures: bool) -> list[LabelledImage]:
    """Of pictures in red, green, blue and multispectral files beside them, the ones or the others.

    They are told apart by the folders' names, and by the files' format; where all are alike, all
    are chosen.
    """

    def of_pictures(scene: LabelledImage) -> bool:
        return any(_RGB_FOLDER.search(name) for name in scene.file.folders)

    def is_picture(scene: LabelledImage) -> bool:
        return scene.file.suffix not in _TIFF

    chosen = list(scenes)
    for looks_so in (of_pictures, is_picture):
        chosen = [scene for scene in chosen if looks_so(scene) == pictures] or chosen
    return chosen
