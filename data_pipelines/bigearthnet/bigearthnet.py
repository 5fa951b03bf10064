"""`bigearthnet`: Sentinel-2 patches of 120 × 120 pixels at 10 m, with several labels each.

Sumbul et al. 2019 (https://arxiv.org/abs/1902.06148), version 1; Clasen et al. 2024
(https://arxiv.org/abs/2407.03653), version 2. Read from the authors' archive as it is, or from the
folder that somebody unpacked it into.
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
# The archives' sizes as their records have them, and the patches in no split of version 1.
_BYTES = {_ARCHIVES[1]: 70_032_164_579, _ARCHIVES[2]: 63_251_710_377}
_IN_SPLITS_V1, _IN_ALL_V1 = 519_284, 590_326
# Patches of each version: of each split, and of all of them together.
_IN_SPLITS = {
    1: {"train": 269_695, "validation": 123_723, "test": 125_866},
    2: {"train": 237_871, "validation": 122_342, "test": 119_825},
}
_IN_ALL = {1: _IN_ALL_V1, 2: 549_488}


@dataclass(eq=False, kw_only=True)
class BigearthnetConfig(tfds.core.BuilderConfig):
    """Which version, and what of it.

    Attributes:
        dataset_version: 1 or 2.
        bands: any of Sentinel-2's twelve, by name or alias, in the order wanted.
        resampling: how the 20 m and 60 m bands become 10 m: `nearest`, `bilinear` or `cubic`.
        lists: the lists of patches to use, of train, validation, test, snow and cloud. Patches in
            no split go to `unsplit`; without the lists of snow and cloud there are no such flags.
    """

    dataset_version: int
    bands: tuple[str, ...]
    resampling: str = "bilinear"
    lists: tuple[str, ...] = LISTS

    @property
    def sensor(self) -> Sensor:
        """The bands asked for."""
        return SENTINEL2_L2A.select(self.bands)

    @property
    def flags(self) -> tuple[str, ...]:
        """The yes/no features that the lists give."""
        return tuple(flag for flag in FLAGS if flag in self.lists)


class Bigearthnet(tfds.core.GeneratorBasedBuilder):
    """Patches of ten countries of Europe with the classes of their land cover.

    Splits `train`, `validation` and `test` are the authors'; `unsplit` holds the patches with
    seasonal snow, cloud or shadow, and the few without a label of the 19 classes. `all` is all of
    them together.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (
        BigearthnetConfig(name="v1/rgbn", dataset_version=1, bands=_RGBN),
        BigearthnetConfig(name="v1/rgb", dataset_version=1, bands=_RGB),
        BigearthnetConfig(name="v2/rgbn", dataset_version=2, bands=_RGBN),
        BigearthnetConfig(name="v2/rgb", dataset_version=2, bands=_RGB),
    )
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    BigEarthNet-S2-v1.0.tar.gz and the lists *.csv.gz of zenodo.org/records/12687186 for version 1,
    BigEarthNet-S2.tar.zst and both *.parquet of zenodo.org/records/10891137 for version 2; the
    archive may be unpacked, and need not be
    """

    @property
    def expected_examples(self) -> Mapping[str, int]:
        """Patches in each split, as published; those of a list that isn't used are in no split."""
        config = self.builder_config
        published = _IN_SPLITS[config.dataset_version].items()
        splits = {split: number for split, number in published if split in config.lists}
        return {**splits, UNSPLIT: _IN_ALL[config.dataset_version] - sum(splits.values())}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        _check(config)
        features: dict[str, Any] = {
            "image": tfds.features.Tensor(
                shape=(SIZE, SIZE, len(config.bands)),
                dtype=np.uint16,
                encoding=tfds.features.Encoding.BYTES,
            ),
            "id": tfds.features.Text(),
            "labels": _several(CLASSES_19),
        }
        if config.dataset_version == 1:
            features["labels_43"] = _several(CLASSES_43)
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
        known = (read_lists_v1 if config.dataset_version == 1 else read_lists_v2)(
            folder, config.lists
        )
        files = tuple(
            next(alias for alias in band.aliases if alias.startswith("B") and len(alias) == 3)
            for band in config.sensor.bands
        )
        reader = PatchReader(files, config.resampling, config.flags)
        version = config.dataset_version
        found = [("lists", _numbers(count_patches(known)))]
        patches = FolderPatches(folder, version, known)
        names = list(patches.names())
        parts = _archive(folder, version)
        items: FolderPatches | ArchivePatches = patches
        expected: dict[str, int | None]
        absent = len(known.keys() - set(names))
        if names and parts and (absent or not known):
            raise UserError(
                f"folder {folder}: holds {len(names):,} patches in folders and the archive "
                f"{parts[0].name}, and {absent:,} patches of the lists are in no folder; unpack "
                "the archive to its end, or move the folders away"
            )
        if names:
            numbers = count_patches({name: known.get(name, PatchInfo()) for name in names})
            expected = {**numbers}
            said = f"{folder} with {_numbers(numbers)}; {absent:,} of the lists are not there"
            found.append(("folder", said))
        elif parts:
            items = ArchivePatches(parts, version, known, reader.endings(version == 1))
            expected = _expected_of_archive(known, version)
            found.append(("archive", _described(parts)))
        else:
            there = sorted(path.name for path in folder.iterdir())
            raise UserError(
                f"folder {folder}: holds neither patches of version {version} in folders nor "
                f"{_ARCHIVES[version]}; found {format_names(there)}"
            )
        return Reading(items, reader, expected, found).splits()

    def _generate_examples(self) -> Any:
        """Not asked for: `_split_generators` returns the examples."""


def _several(classes: Sequence[str]) -> tfds.features.Sequence:
    return tfds.features.Sequence(tfds.features.ClassLabel(names=list(classes)))


def _check(config: BigearthnetConfig) -> None:
    if config.resampling not in Resampling.__members__:
        raise UserError(
            f"--config.resampling: found {config.resampling!r}; expected nearest, bilinear or cubic"
        )
    unknown = [name for name in config.lists if name not in LISTS]
    if unknown:
        raise UserError(
            f"--config.lists: found {unknown[0]!r}; expected some of {', '.join(LISTS)}"
        )


def _numbers(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {number:,}" for split, number in counts.items())


def _expected_of_archive(known: Mapping[str, PatchInfo], version: int) -> dict[str, int | None]:
    """How many patches of each split a whole archive holds, as far as the lists tell."""
    numbers = count_patches(known)
    expected: dict[str, int | None] = {**numbers}
    if version == 1:  # some patches in no split are in no list
        in_splits = sum(number for split, number in numbers.items() if split != UNSPLIT)
        expected[UNSPLIT] = _IN_ALL_V1 - in_splits if in_splits == _IN_SPLITS_V1 else None
    return expected


def _archive(folder: Path, version: int) -> tuple[Path, ...]:
    """The parts of the one archive of Sentinel-2 patches of a version; none if it isn't there."""
    found = {
        name: parts
        for name, parts in find_archives(folder, PATCH_FOLDERS).items()
        if name.startswith("BigEarthNet") and "-S1" not in name and ("v1" in name) == (version == 1)
    }
    if len(found) > 1:
        raise UserError(
            f"folder {folder}: found {format_names(sorted(found))}; expected one archive of "
            f"version "
            f"{version}: move the others away"
        )
    return next(iter(found.values()), ())


def _described(parts: Sequence[Path]) -> str:
    size = sum(part.stat().st_size for part in parts)
    published = _BYTES.get(parts[0].name)
    if published is None:
        compared = ""
    elif published == size:
        compared = ", as published"
    else:
        compared = f"; published with {published:,}"
    more = f" and {len(parts) - 1} more parts" if len(parts) > 1 else ""
    return f"{parts[0]}{more}, {size:,} bytes{compared}"
