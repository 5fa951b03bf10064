"""A prepared TFDS dataset: what it holds, and the subsets of its splits.

Split expressions are written as `data_pipelines.sources.cuts` describes: `train`, `all[2:8].rest`,
`train[not snow][16 per class]`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.registry import BuilderName, find_builder
from data_pipelines.sources.info import (
    Target,
    check_usable,
    classes_of,
    kind_of,
    target_feature,
)
from data_pipelines.sources.skipping import BadRecords
from data_pipelines.sources.stored import ALL, build_command
from data_pipelines.sources.subset import Subset
from data_pipelines.sources.windows import Grid

__all__ = ["Dataset", "dataset_of", "is_prepared", "open_dataset", "open_folder"]


def open_dataset(
    name: str,
    data_dir: str | Path,
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> "Dataset":
    """Open a prepared dataset.

    Args:
        name: of the builder, as `registry.find_builder` takes it: `demo_tiles`, `demo_tiles/small`,
            `package.module:Class`.
        data_dir: where the dataset was prepared.
        bands: names or aliases of the bands wanted, in the order wanted; empty for all it has.
        target: the feature to learn, such as `labels_43`; empty for the one named `label`, `labels`
            or `mask`.
        bad_records: what is done about records that can't be read; by default they are mistakes.

    Raises:
        UserError: no such builder, not prepared in `data_dir`, no usable `image`, or no such band.
    """
    folder = _prepared(name, find_builder(name), Path(data_dir))
    return open_folder(folder, name, bands, target, bad_records)


def open_folder(
    folder: Path,
    name: str,
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> "Dataset":
    """Open the dataset in a folder that holds TFDS's `dataset_info.json`; see `open_dataset`."""
    info = tfds.builder_from_directory(folder).info
    sensor = check_usable(name, info)
    if not sensor.measured:
        raise UserError(
            f"dataset {name}: does not say the mean and the standard deviation of its bands; "
            f"python -m data_pipelines.build {name} measures them"
        )
    splits = {split: size.num_examples for split, size in info.splits.items()}
    return dataset_of(name, info, sensor, splits, bands, target, bad_records)


def dataset_of(
    name: str,
    info: tfds.core.DatasetInfo,
    sensor: Sensor,
    splits: Mapping[str, int],
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> "Dataset":
    """The dataset that TFDS's description tells of, with the `sensor` of all stored bands.

    `splits` are without `all`; the rest is as of `open_dataset`.
    """
    features = info.features
    shape = tuple(features["image"].shape)
    selected = sensor.select(bands) if bands else sensor
    feature_name = target_feature(name, features, target)
    metadata = info.metadata or {}
    grid = Grid.from_dict(metadata["windows"]) if "windows" in metadata else None
    side = grid.window if grid else 1
    return Dataset(
        name=name,
        sensor=selected,
        image_shape=(shape[0] * side, shape[1] * side, len(selected.bands)),
        image_dtype=np.dtype(features["image"].np_dtype),
        target=kind_of(features, feature_name),
        target_feature=feature_name,
        classes=classes_of(info, feature_name),
        colours=tuple(tuple(colour) for colour in metadata.get("colours", ())),
        ignore_label=metadata.get("ignore_label", 255),
        splits={**splits, ALL: sum(splits.values())},
        grid=grid,
        info=info,
        channels=sensor.indices(bands) if bands else tuple(range(shape[2])),
        bad_records=bad_records or BadRecords(),
    )


def is_prepared(name: str, data_dir: str | Path) -> bool:
    """Whether `open_dataset` would find a dataset of that name.

    Raises:
        UserError: there is no such builder.
    """
    return bool(_versions(find_builder(name), Path(data_dir)))


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, seen through the bands asked for.

    Attributes:
        name: as it was opened.
        sensor: the selected bands, in the order of the images' last axis.
        image_shape: (height, width, bands).
        image_dtype: uint8 or uint16 digital numbers.
        target: what its examples carry beside the image.
        target_feature: the dataset's name for it; empty where it has none.
        classes: names, in the order of the labels; empty where it has no target.
        colours: red, green, blue of each class; empty where it has none.
        ignore_label: the value of unlabelled pixels in masks.
        splits: stored records in each split, and in `all`.
        grid: how windows lie on the records, where the records are cells of larger pictures.
        info: what TFDS knows of it.
        channels: of the stored images, those of the selected bands.
        bad_records: what is done about records that can't be read.
    """

    name: str
    sensor: Sensor
    image_shape: tuple[int, int, int]
    image_dtype: np.dtype
    target: Target
    target_feature: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    ignore_label: int
    splits: dict[str, int]
    grid: Grid | None
    info: tfds.core.DatasetInfo
    channels: tuple[int, ...]
    bad_records: BadRecords

    def subset(self, expression: str, seed: int = 0) -> Subset:
        """The examples that a split expression names, such as `train` or `all[2:8].rest`.

        Args:
            expression: as `data_pipelines.sources.cuts` describes.
            seed: of random cuts.

        Raises:
            UserError: the expression is not written as expected, names no split or no example.
        """
        return Subset.of(self, expression, seed)


def _prepared(name: str, found: BuilderName, data_dir: Path) -> Path:
    """The folder of the newest prepared version."""
    if versions := _versions(found, data_dir):
        return max(versions, key=lambda version: tfds.core.Version(version.name))
    if found.config and found.configs and found.config not in found.configs:
        raise UserError(
            f"dataset {name}: has no config {found.config!r}; expected one of "
            + ", ".join(found.configs)
        )
    raise UserError(
        f"dataset {name}: is not prepared in {data_dir}; run {build_command(name, data_dir)}"
    )


def _versions(found: BuilderName, data_dir: Path) -> list[Path]:
    """The folders of all prepared versions."""
    folder = data_dir.expanduser() / found.folder
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    return [version for version in versions if tfds.core.Version.is_valid(version.name)]
