"""`eurosat`: Sentinel-2 images of 64 × 64 pixels at 10 m, with one of ten classes of land use.

Helber et al. 2019, EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover
Classification (https://arxiv.org/abs/1709.00029). Read from the authors' zip archives as they are,
or from the folders that somebody unpacked them into.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.bands import SENTINEL2_L1C, SENTINEL2_RGB, Sensor
from data_pipelines.class_folders.folders import (
    check_images,
    count_images,
    find_images_of_classes,
    make_dataset_info,
    read_image,
)
from data_pipelines.errors import UserError
from data_pipelines.reading import Reading

__all__ = ["Eurosat", "EurosatConfig"]

SIZE = 64
_PUBLISHED = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}
CLASSES = tuple(_PUBLISHED)


@dataclass(frozen=True)
class _Files:
    """One of the two archives.

    Attributes:
        names: that the archive goes by.
        suffixes: of the images in it.
        sensor: what they were taken with.
        bands: of the images, in the files' order.
        dtype: of their pixels.
    """

    names: str
    suffixes: tuple[str, ...]
    sensor: Sensor
    bands: tuple[str, ...]
    dtype: str


_FILES = {
    "rgb": _Files(
        "EuroSAT_RGB.zip (or EuroSAT.zip)",
        (".jpg", ".jpeg"),
        SENTINEL2_RGB,
        SENTINEL2_RGB.names,
        "uint8",
    ),
    "ms": _Files(
        "EuroSAT_MS.zip (or EuroSATallBands.zip)",
        (".tif", ".tiff"),
        SENTINEL2_L1C,
        # B8A is the last band of the files, not the one after B08.
        ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"),
        "uint16",
    ),
}


@dataclass(eq=False, kw_only=True)
class EurosatConfig(tfds.core.BuilderConfig):
    """Which archive, and which of its bands.

    Attributes:
        files: `rgb` for pictures in red, green and blue, `ms` for the thirteen bands of level 1C.
        bands: any of these, by name or alias, in the order wanted.
    """

    files: str
    bands: tuple[str, ...]

    @property
    def sensor(self) -> Sensor:
        """The bands asked for."""
        return _files(self).sensor.select(self.bands)


class Eurosat(tfds.core.GeneratorBasedBuilder):
    """Sentinel-2 images of 34 countries of Europe with the use of their land.

    There is one split, `train`, which the user cuts: `all[8:2]`. Images have the same names in all
    configs, and so the same cut has the same images.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        EurosatConfig(name="rgb", files="rgb", bands=("red", "green", "blue")),
        EurosatConfig(name="rgbn", files="ms", bands=("red", "green", "blue", "nir")),
        EurosatConfig(name="all", files="ms", bands=SENTINEL2_L1C.names),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    EuroSAT_RGB.zip or EuroSAT_MS.zip of zenodo.org/records/7711810; it may be unpacked, and need
    not be
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """Examples in each split, as published."""
        return {"train": sum(_PUBLISHED.values())}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return make_dataset_info(
            self,
            config.sensor,
            SIZE,
            _files(config).dtype,
            CLASSES,
            homepage="https://github.com/phelber/EuroSAT",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        files = _files(config)
        wanted = f"{files.names} of zenodo.org/records/7711810, unpacked or not"
        scenes = find_images_of_classes(folder, CLASSES, wanted)
        chosen = [scene for scene in scenes if scene.file.suffix in files.suffixes]
        if not chosen:
            raise UserError(
                f"folder {folder}: holds no {files.suffixes[0]} image; found "
                f"{scenes[0].file.name} and the like, expected {wanted}"
            )
        check_images(folder, chosen, CLASSES)
        read = functools.partial(
            read_image,
            size=SIZE,
            dtype=files.dtype,
            bands=len(files.bands),
            channels=_channels(config),
        )
        unused = [scene for scene in scenes if scene.file.suffix not in files.suffixes]
        found = count_images(chosen, unused, _PUBLISHED)
        return Reading(chosen, read, {"train": sum(_PUBLISHED.values())}, found).splits()

    def _generate_examples(self) -> Any:
        """Not asked for: `_split_generators` returns the examples."""


def _files(config: EurosatConfig) -> _Files:
    if config.files not in _FILES:
        raise UserError(
            f"--config.files: found {config.files!r}; expected one of {', '.join(_FILES)}"
        )
    return _FILES[config.files]


def _channels(config: EurosatConfig) -> tuple[int, ...]:
    """Where in a file the bands of the config are, counted from 1."""
    files = _files(config)
    in_file = files.sensor.select(files.bands)
    return tuple(index + 1 for index in in_file.indices(config.bands))
