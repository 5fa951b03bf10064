"""The description of a dataset: sensor, target and classes, read from TFDS's metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import PICTURES, Sensor
from data_pipelines.bands.conversion import UNCHANGED, Conversion
from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import BadRecords
from data_pipelines.sources.catalogue import small_features
from data_pipelines.sources.windows import WindowGrid

__all__ = ["ALL", "Dataset", "Target", "build_command", "check_usable", "make_dataset"]

ALL = "all"  # TFDS's name for all splits together
Target = Literal["none", "label", "labels", "mask"]


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, restricted to the selected bands.

    Attributes:
        name: Name that the dataset was opened by.
        sensor: The selected bands, in the order of the images' last axis.
        image_shape: (height, width, bands) of an example.
        image_dtype: Uint8 or uint16 digital numbers.
        target: Kind of target of the examples.
        target_feature: Name of the target's feature in the dataset; empty without target.
        classes: Names of the classes, in the order of the labels; empty without target.
        colours: Red, green, blue of each class; empty if the dataset defines none.
        ignore_label: Value of unlabelled pixels in masks.
        splits: Number of stored records in each split, and in `all`.
        grid: Layout of windows on the records if these are blocks of larger images, else None.
        info: TFDS's description of the dataset.
        channels: Channels of the stored images that are the selected bands.
        bad_records: How to handle unreadable records.
        conversion: Conversion of the stored numbers when images are read.
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
    conversion: Conversion = UNCHANGED


def make_dataset(
    name: str,
    info: tfds.core.DatasetInfo,
    sensor: Sensor,
    splits: Mapping[str, int],
    bands: Sequence[str] = (),
    target: str = "",
    bad_records: BadRecords | None = None,
) -> Dataset:
    """Make a dataset from TFDS's description.

    Args:
        name: See `opening.open_dataset`.
        info: TFDS's description.
        sensor: The sensor of all stored bands.
        splits: Number of stored records in each split, without `all`.
        bands: See `opening.open_dataset`.
        target: See `opening.open_dataset`.
        bad_records: See `opening.open_dataset`.

    Raises:
        UserError: If there is no such band or target, or the target's classes have no names.
    """
    features = info.features
    shape = tuple(features["image"].shape)
    selected = sensor.select(bands) if bands else sensor
    feature_name = _find_target_feature(name, features, target)
    metadata = info.metadata or {}
    grid = WindowGrid.from_dict(metadata["windows"]) if "windows" in metadata else None
    side = grid.window if grid else 1
    return Dataset(
        name=name,
        sensor=selected,
        image_shape=(shape[0] * side, shape[1] * side, len(selected.bands)),
        image_dtype=np.dtype(features["image"].np_dtype),
        target=_find_target_kind(features, feature_name),
        target_feature=feature_name,
        classes=_find_class_names(info, feature_name),
        colours=tuple(tuple(colour) for colour in metadata.get("colours", ())),
        ignore_label=metadata.get("ignore_label", 255),
        splits={**splits, ALL: sum(splits.values())},
        grid=grid,
        info=info,
        channels=sensor.indices(bands) if bands else tuple(range(shape[2])),
        bad_records=bad_records or BadRecords(),
    )


def check_usable(name: str, info: tfds.core.DatasetInfo) -> Sensor:
    """Check that models can be trained on a dataset's features, and return its sensor.

    The dataset need not be prepared yet.

    Args:
        name: The dataset's name, for error messages.
        info: TFDS's description.

    Returns:
        The sensor of all stored bands.

    Raises:
        UserError: If the shape or dtype of the images is not supported, or if their bands are
            unknown.
    """
    features = info.features
    if "image" not in features:
        raise UserError(
            f"dataset {name}: has no feature `image`, only {', '.join(sorted(features))}; expected "
            "`image` and, if it is labelled, `label`, `labels` or `mask`"
        )
    shape, dtype = tuple(features["image"].shape), np.dtype(features["image"].np_dtype)
    if len(shape) != 3 or None in shape or dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"dataset {name}: its images are {dtype} of shape {shape}; expected uint8 or uint16 of "
            "one fixed (height, width, bands)"
        )
    sensor = _find_sensor(name, info, shape[2])
    if not sensor.measured and isinstance(features["image"], tfds.features.Image):
        raise UserError(
            f"dataset {name}: its images are encoded files, for which preparing does not compute "
            f"band statistics; expected mean and std of the bands of sensor {sensor.name}"
        )
    return sensor


def _find_sensor(name: str, info: tfds.core.DatasetInfo, num_bands: int) -> Sensor:
    description = (info.metadata or {}).get("sensor")
    if description is None and num_bands == len(PICTURES.bands):
        return PICTURES
    if description is None:
        raise UserError(
            f"dataset {name}: does not define the sensor of its {num_bands} bands; expected "
            'metadata=tfds.core.MetadataDict({"sensor": Sensor(...).to_dict()}) in its info'
        )
    sensor = Sensor.from_dict(description)
    if len(sensor.bands) != num_bands:
        raise UserError(
            f"dataset {name}: its images have {num_bands} bands, its sensor {sensor.name} "
            f"{len(sensor.bands)} ({', '.join(sensor.names)}); expected the same number"
        )
    return sensor


def _find_target_feature(name: str, features: tfds.features.FeaturesDict, target: str) -> str:
    """Return `target` if given, else `label`, `labels` or `mask`; empty if there is no target.

    Raises:
        UserError: If there is no such target.
    """
    if target and (target not in features or _find_target_kind(features, target) == "none"):
        targets = [f for f in sorted(features) if _find_target_kind(features, f) != "none"]
        raise UserError(
            f"dataset {name}: has no target {target!r}; it has {', '.join(targets) or 'none'}"
        )
    return target or next((t for t in ("label", "labels", "mask") if t in features), "")


def _find_target_kind(features: tfds.features.FeaturesDict, feature: str) -> Target:
    """Return the kind of target that a feature is; `none` if it is no target, or empty."""
    kinds: tuple[Target, ...] = ("label", "labels", "mask")
    if feature in kinds:
        return feature
    if feature and small_features(features).get(feature):
        return "labels"
    return "none"


def _find_class_names(info: tfds.core.DatasetInfo, target: str) -> tuple[str, ...]:
    """Return the names of a target's classes, in the order of the labels; empty without target.

    Raises:
        UserError: If the dataset doesn't define them.
    """
    if not target:
        return ()
    classes = (info.metadata or {}).get("classes")
    if classes and target in ("label", "labels", "mask"):
        return tuple(classes)
    feature = info.features[target]
    feature = getattr(feature, "feature", feature)  # the element of a Sequence
    names = getattr(feature, "names", None)
    if names is None:
        raise UserError(
            f"dataset {info.full_name}: does not name the classes of `{target}`; expected a "
            'ClassLabel, or metadata=tfds.core.MetadataDict({"classes": [...]}) in its info'
        )
    return tuple(names)


def build_command(name: str, data_dir: str | Path) -> str:
    """Return the command line that prepares a dataset."""
    return f"python -m data_pipelines.build {name} --data_dir {data_dir}"
