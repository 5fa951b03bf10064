"""A dataset as TFDS's description has it: its sensor, its target and its classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import PICTURES, Sensor
from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import BadRecords
from data_pipelines.sources.catalogue import small_features
from data_pipelines.sources.windows import WindowGrid

__all__ = ["ALL", "Dataset", "Target", "build_command", "check_usable", "make_dataset"]

ALL = "all"  # TFDS's own word for every split together
Target = Literal["none", "label", "labels", "mask"]


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
    grid: WindowGrid | None
    info: tfds.core.DatasetInfo
    channels: tuple[int, ...]
    bad_records: BadRecords


def make_dataset(
    name: str,
    info: tfds.core.DatasetInfo,
    sensor: Sensor,
    splits: Mapping[str, int],
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> Dataset:
    """The dataset that TFDS's description tells of, with the `sensor` of all stored bands.

    `splits` are without `all`; the rest is as of `open_dataset`.
    """
    features = info.features
    shape = tuple(features["image"].shape)
    selected = sensor.select(bands) if bands else sensor
    feature_name = _target(name, features, target)
    metadata = info.metadata or {}
    grid = WindowGrid.from_dict(metadata["windows"]) if "windows" in metadata else None
    side = grid.window if grid else 1
    return Dataset(
        name=name,
        sensor=selected,
        image_shape=(shape[0] * side, shape[1] * side, len(selected.bands)),
        image_dtype=np.dtype(features["image"].np_dtype),
        target=_kind(features, feature_name),
        target_feature=feature_name,
        classes=_classes(info, feature_name),
        colours=tuple(tuple(colour) for colour in metadata.get("colours", ())),
        ignore_label=metadata.get("ignore_label", 255),
        splits={**splits, ALL: sum(splits.values())},
        grid=grid,
        info=info,
        channels=sensor.indices(bands) if bands else tuple(range(shape[2])),
        bad_records=bad_records or BadRecords(),
    )


def check_usable(name: str, info: tfds.core.DatasetInfo) -> Sensor:
    """The sensor of a dataset whose features can be trained on; whether it is prepared or not.

    Raises:
        UserError: its images are none of the kinds used here, or nobody knows their bands.
    """
    features = info.features
    if "image" not in features:
        raise UserError(
            f"dataset {name}: has no feature `image`, only {', '.join(sorted(features))}; expected "
            "`image` and, where it is labelled, `label`, `labels` or `mask`"
        )
    shape, dtype = tuple(features["image"].shape), np.dtype(features["image"].np_dtype)
    if len(shape) != 3 or None in shape or dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"dataset {name}: its images are {dtype} of shape {shape}; expected uint8 or uint16 of "
            "one fixed (height, width, bands)"
        )
    sensor = _sensor(name, info, shape[2])
    if not sensor.measured and isinstance(features["image"], tfds.features.Image):
        raise UserError(
            f"dataset {name}: its images are encoded files, whose bands are not measured while it "
            f"is prepared; expected mean and std of the bands of sensor {sensor.name}"
        )
    return sensor


def _sensor(name: str, info: tfds.core.DatasetInfo, bands: int) -> Sensor:
    description = (info.metadata or {}).get("sensor")
    if description is None and bands == len(PICTURES.bands):
        return PICTURES
    if description is None:
        raise UserError(
            f"dataset {name}: does not say which sensor its {bands} bands are of; expected "
            'metadata=tfds.core.MetadataDict({"sensor": Sensor(...).to_dict()}) in its info'
        )
    sensor = Sensor.from_dict(description)
    if len(sensor.bands) != bands:
        raise UserError(
            f"dataset {name}: its images have {bands} bands, its sensor {sensor.name} "
            f"{len(sensor.bands)} ({', '.join(sensor.names)}); expected as many"
        )
    return sensor


def _target(name: str, features: tfds.features.FeaturesDict, asked: str) -> str:
    """The feature to learn: the one asked for, else `label`, `labels` or `mask`; empty for none.

    Raises:
        UserError: there is no such target.
    """
    if asked and (asked not in features or _kind(features, asked) == "none"):
        known = [feature for feature in sorted(features) if _kind(features, feature) != "none"]
        raise UserError(
            f"dataset {name}: has no target {asked!r}; it has {', '.join(known) or 'none'}"
        )
    return asked or next((t for t in ("label", "labels", "mask") if t in features), "")


def _kind(features: tfds.features.FeaturesDict, feature: str) -> Target:
    """What kind of target a feature is; `none` where it is none, or empty."""
    kinds: tuple[Target, ...] = ("label", "labels", "mask")
    if feature in kinds:
        return feature
    if feature and small_features(features).get(feature):
        return "labels"
    return "none"


def _classes(info: tfds.core.DatasetInfo, target: str) -> tuple[str, ...]:
    """The names of a target's classes, in the order of the labels; none where it has no target.

    Raises:
        UserError: nobody names them.
    """
    if not target:
        return ()
    named = (info.metadata or {}).get("classes")
    if named and target in ("label", "labels", "mask"):
        return tuple(named)
    feature = info.features[target]
    feature = getattr(feature, "feature", feature)  # a Sequence's own
    names = getattr(feature, "names", None)
    if names is None:
        raise UserError(
            f"dataset {info.full_name}: does not name the classes of `{target}`; expected a "
            'ClassLabel, or metadata=tfds.core.MetadataDict({"classes": [...]}) in its info'
        )
    return tuple(names)


def build_command(name: str, data_dir: str | Path) -> str:
    """What a user types to prepare a dataset."""
    return f"python -m data_pipelines.build {name} --data_dir {data_dir}"
