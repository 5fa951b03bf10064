"""`bigearthnet`: multi-label Sentinel-2 patches of 120 × 120 pixels at 10 m.

Version 1: Sumbul et al. 2019 (https://arxiv.org/abs/1902.06148). Version 2: Clasen et al. 2024
(https://arxiv.org/abs/2407.03653). The builder reads the authors' archive directly, or the folder
it was unpacked into.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from rasterio.enums import Resampling

from data_pipelines.bands import SENTINEL2_L2A, Sensor
from data_pipelines.bigearthnet.lists import (
    FLAGS,
    LISTS,
    PATCH_FOLDERS,
    UNSPLIT,
    PatchInfo,
    count_patches,
    read_lists_v1,
    read_lists_v2,
)
from data_pipelines.bigearthnet.nomenclature import CLASSES_19, CLASSES_43
from data_pipelines.bigearthnet.patches import (
    SIZE,
    ArchivePatches,
    FolderPatches,
    PatchReader,
)
from data_pipelines.errors import UserError
from data_pipelines.files.archives import find_archives
from data_pipelines.files.paths import format_names
from data_pipelines.reading import Reading

__all__ = ["Bigearthnet", "BigearthnetConfig"]

_RGB = ("red", "green", "blue")
_RGBN = (*_RGB, "nir")
_ARCHIVES = {1: "BigEarthNet-S2-v1.0.tar.gz", 2: "BigEarthNet-S2.tar.zst"}
# Sizes of the archives in bytes, as published on Zenodo.
_ARCHIVE_BYTES = {_ARCHIVES[1]: 70_032_164_579, _ARCHIVES[2]: 63_251_710_377}
# Number of patches of each version: in each split, and in total.
_SPLIT_SIZES = {
    1: {"train": 269_695, "validation": 123_723, "test": 125_866},
    2: {"train": 237_871, "validation": 122_342, "test": 119_825},
}
_NUM_PATCHES = {1: 590_326, 2: 549_488}


@dataclass(eq=False, kw_only=True)
class BigearthnetConfig(tfds.core.BuilderConfig):
    """The version of the dataset, its bands and the lists of patches to use.

    Attributes:
        dataset_version: 1 or 2.
        bands: Any of the twelve Sentinel-2 bands, by name or alias, in the order of the channels.
        resampling: Resampling of the 20 m and 60 m bands to 10 m: `nearest`, `bilinear` or `cubic`.
        lists: The lists of patches to use, a subset of train, validation, test, snow and cloud.
            Patches that are in none of the split lists go to the split `unsplit`; without the lists
            of snow and cloud, the examples lack these flags.
    """

    dataset_version: int
    bands: tuple[str, ...]
    resampling: str = "bilinear"
    lists: tuple[str, ...] = LISTS

    @property
    def sensor(self) -> Sensor:
        """Sentinel-2 with the bands of this config."""
        return SENTINEL2_L2A.select(self.bands)

    @property
    def flags(self) -> tuple[str, ...]:
        """The boolean features that the lists provide."""
        return tuple(flag for flag in FLAGS if flag in self.lists)


class Bigearthnet(tfds.core.GeneratorBasedBuilder):
    """Patches from ten European countries, labelled with their land cover classes.

    The splits `train`, `validation` and `test` are the authors'. `unsplit` holds the patches with
    seasonal snow, cloud or shadow, and the few without any of the 19 classes. `all` is the union of
    the four.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        BigearthnetConfig(name="v1/rgbn", dataset_version=1, bands=_RGBN),
        BigearthnetConfig(name="v1/rgb", dataset_version=1, bands=_RGB),
        BigearthnetConfig(name="v2/rgbn", dataset_version=2, bands=_RGBN),
        BigearthnetConfig(name="v2/rgb", dataset_version=2, bands=_RGB),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    for version 1 BigEarthNet-S2-v1.0.tar.gz and the lists *.csv.gz of zenodo.org/records/12687186,
    for version 2 BigEarthNet-S2.tar.zst and both *.parquet files of zenodo.org/records/10891137;
    the archive need not be unpacked
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """The published number of patches of each split; without its list, a split is unsplit."""
        config = self.builder_config
        published = _SPLIT_SIZES[config.dataset_version].items()
        splits = {split: count for split, count in published if split in config.lists}
        return {**splits, UNSPLIT: _NUM_PATCHES[config.dataset_version] - sum(splits.values())}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check_config(config)
        features: dict[str, Any] = {
            "image": tfds.features.Tensor(
                shape=(SIZE, SIZE, len(config.bands)),
                dtype=np.uint16,
                encoding=tfds.features.Encoding.BYTES,
            ),
            "id": tfds.features.Text(),
            "labels": _label_sequence(CLASSES_19),
        }
        if config.dataset_version == 1:
            features["labels_43"] = _label_sequence(CLASSES_43)
        features |= dict.fromkeys(config.flags, np.bool_)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict({"sensor": config.sensor.to_dict()}),
            homepage="https://bigearth.net",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config, folder = self.builder_config, Path(dl_manager.manual_dir)
        version = config.dataset_version
        infos = (read_lists_v1 if version == 1 else read_lists_v2)(folder, config.lists)
        file_bands = tuple(
            next(alias for alias in band.aliases if alias.startswith("B") and len(alias) == 3)
            for band in config.sensor.bands
        )
        reader = PatchReader(file_bands, config.resampling, config.flags)
        summary = [("lists", _format_counts(count_patches(infos)))]
        patches = FolderPatches(folder, version, infos)
        names = list(patches.names())
        parts = _find_archive(folder, version)
        items: FolderPatches | ArchivePatches = patches
        expected: dict[str, int | None]
        missing = len(infos.keys() - set(names))
        if names and parts and (missing or not infos):
            raise UserError(
                f"folder {folder}: found {len(names):,} patches in folders and the archive "
                f"{parts[0].name}, and {missing:,} patches of the lists are in no folder; expected "
                "folders or an archive: unpack the archive completely, or move the folders away"
            )
        if names:
            counts = count_patches({name: infos.get(name, PatchInfo()) for name in names})
            expected = {**counts}
            details = f"{folder} with {_format_counts(counts)}; {missing:,} of the lists missing"
            summary.append(("folder", details))
        elif parts:
            items = ArchivePatches(parts, version, infos, reader.suffixes(version == 1))
            expected = _expected_in_archive(infos, version)
            summary.append(("archive", _describe_archive(parts)))
        else:
            entries = sorted(path.name for path in folder.iterdir())
            raise UserError(
                f"folder {folder}: found {format_names(entries)}; expected folders with patches of "
                f"version {version}, or {_ARCHIVES[version]}"
            )
        return Reading(items, reader, expected, summary).splits()

    def _generate_examples(self) -> Any:
        """Not used: `_split_generators` returns the examples."""


def _label_sequence(classes: Sequence[str]) -> tfds.features.Sequence:
    return tfds.features.Sequence(tfds.features.ClassLabel(names=list(classes)))


def _check_config(config: BigearthnetConfig) -> None:
    if config.resampling not in Resampling.__members__:
        raise UserError(
            f"--config.resampling: found {config.resampling!r}; expected nearest, bilinear or cubic"
        )
    unknown = [name for name in config.lists if name not in LISTS]
    if unknown:
        raise UserError(
            f"--config.lists: found {unknown[0]!r}; expected a subset of {', '.join(LISTS)}"
        )


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in counts.items())


def _expected_in_archive(infos: Mapping[str, PatchInfo], version: int) -> dict[str, int | None]:
    """Return the number of patches of each split in a complete archive; None if unknown."""
    counts = count_patches(infos)
    expected: dict[str, int | None] = {**counts}
    if version == 1:  # the lists of version 1 lack some of the unsplit patches
        in_splits = sum(count for split, count in counts.items() if split != UNSPLIT)
        lists_complete = in_splits == sum(_SPLIT_SIZES[1].values())
        expected[UNSPLIT] = _NUM_PATCHES[1] - in_splits if lists_complete else None
    return expected


def _find_archive(folder: Path, version: int) -> tuple[Path, ...]:
    """Return the parts of the archive of Sentinel-2 patches; empty if there is no archive."""
    archives = {
        name: parts
        for name, parts in find_archives(folder, PATCH_FOLDERS).items()
        if name.startswith("BigEarthNet") and "-S1" not in name and ("v1" in name) == (version == 1)
    }
    if len(archives) > 1:
        raise UserError(
            f"folder {folder}: found {format_names(sorted(archives))}; expected one archive of "
            f"version {version}: move the others away"
        )
    return next(iter(archives.values()), ())


def _describe_archive(parts: Sequence[Path]) -> str:
    size = sum(part.stat().st_size for part in parts)
    published = _ARCHIVE_BYTES.get(parts[0].name)
    if published is None:
        comparison = ""
    elif published == size:
        comparison = ", as published"
    else:
        comparison = f"; published size {published:,} bytes"
    more = f" and {len(parts) - 1} more parts" if len(parts) > 1 else ""
    return f"{parts[0]}{more}, {size:,} bytes{comparison}"
