"""`eurosat`: Sentinel-2 images of 64 × 64 pixels at 10 m, labelled with ten land use classes.

Helber et al. 2019, EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover
Classification (https://arxiv.org/abs/1709.00029). The builder reads the authors' zip archives
directly, or the folders they were unpacked into.
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
    find_images_of_classes,
    make_dataset_info,
    read_image,
    summarise_images,
)
from data_pipelines.errors import UserError
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.reading import Reading

__all__ = ["Eurosat", "EurosatConfig"]

SIZE = 64  # height and width of the images in pixels
# Published number of images of each class.
_CLASS_SIZES = {
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
CLASSES = tuple(_CLASS_SIZES)


@dataclass(frozen=True)
class _Archive:
    """One of the two archives.

    Attributes:
        file_names: Its file names, for error messages.
        suffixes: Suffixes of the image files.
        sensor: Sensor of the images.
        bands: Bands of the image files, in order.
        dtype: Dtype of the pixels.
    """

    file_names: str
    suffixes: tuple[str, ...]
    sensor: Sensor
    bands: tuple[str, ...]
    dtype: str


_ARCHIVES = {
    "rgb": _Archive(
        "EuroSAT_RGB.zip (or EuroSAT.zip)",
        (".jpg", ".jpeg"),
        SENTINEL2_RGB,
        SENTINEL2_RGB.names,
        "uint8",
    ),
    "ms": _Archive(
        "EuroSAT_MS.zip (or EuroSATallBands.zip)",
        (".tif", ".tiff"),
        SENTINEL2_L1C,
        # In the files, B8A is the last band rather than the one after B08.
        ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A"),
        "uint16",
    ),
}


@dataclass(eq=False, kw_only=True)
class EurosatConfig(tfds.core.BuilderConfig):
    """The archive to read, and the bands to select.

    Attributes:
        files: `rgb` for the RGB images, `ms` for the thirteen bands of level 1C.
        bands: Any of the archive's bands, by name or alias, in the order of the channels.
    """

    files: str
    bands: tuple[str, ...]

    @property
    def sensor(self) -> Sensor:
        """The archive's sensor, with the bands of this config."""
        return _get_archive(self).sensor.select(self.bands)


class Eurosat(tfds.core.GeneratorBasedBuilder):
    """Sentinel-2 images from 34 European countries, labelled with their land use.

    The only split is `train`, to be subdivided by a split expression such as `all[8:2]`. Images
    have the same names in all configs, so that the same expression selects the same images.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        EurosatConfig(name="rgb", files="rgb", bands=("red", "green", "blue")),
        EurosatConfig(name="rgbn", files="ms", bands=("red", "green", "blue", "nir")),
        EurosatConfig(name="all", files="ms", bands=SENTINEL2_L1C.names),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    EuroSAT_RGB.zip or EuroSAT_MS.zip of zenodo.org/records/7711810; it need not be unpacked
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """The published number of examples of each split."""
        return {"train": sum(_CLASS_SIZES.values())}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return make_dataset_info(
            self,
            config.sensor,
            SIZE,
            _get_pixel_format(config),
            CLASSES,
            homepage="https://github.com/phelber/EuroSAT",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        archive = _get_archive(config)
        expected = f"{archive.file_names} of zenodo.org/records/7711810, unpacked or not"
        images = find_images_of_classes(folder, CLASSES, expected)
        used = [image for image in images if image.file.suffix in archive.suffixes]
        if not used:
            raise UserError(
                f"folder {folder}: holds no {archive.suffixes[0]} image; found other images, such "
                f"as {images[0].file.name}; expected {expected}"
            )
        check_images(folder, used, CLASSES)
        read = functools.partial(read_image, size=SIZE, pixels=_get_pixel_format(config))
        unused = [image for image in images if image.file.suffix not in archive.suffixes]
        summary = summarise_images(used, unused, _CLASS_SIZES)
        return Reading(used, read, dict(self.expected_examples), summary).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _get_archive(config: EurosatConfig) -> _Archive:
    if config.files not in _ARCHIVES:
        raise UserError(
            f"--config.files: found {config.files!r}; expected one of {', '.join(_ARCHIVES)}"
        )
    return _ARCHIVES[config.files]


def _get_pixel_format(config: EurosatConfig) -> PixelFormat:
    """Return how the pixels of the archive's files are read."""
    archive = _get_archive(config)
    channels = archive.sensor.select(archive.bands).indices(config.bands)
    return PixelFormat(
        config.sensor.names,
        archive.dtype,
        tuple(index + 1 for index in channels),
        num_bands=len(archive.bands),
    )
