"""What TFDS's description of a dataset says: its sensor, its target and its classes."""

from typing import Literal

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import PICTURES, Sensor
from data_pipelines.errors import UserError
from data_pipelines.sources.catalogue import small_features

__all__ = ["Target", "check_usable", "classes_of", "kind_of", "target_feature"]

Target = Literal["none", "label", "labels", "mask"]


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


def target_feature(name: str, features: tfds.features.FeaturesDict, asked: str) -> str:
    """The feature to learn: the one asked for, else `label`, `labels` or `mask`; empty for none.

    Raises:
        UserError: there is no such target.
    """
    if asked and (asked not in features or kind_of(features, asked) == "none"):
        known = [feature for feature in sorted(features) if kind_of(features, feature) != "none"]
        raise UserError(
            f"dataset {name}: has no target {asked!r}; it has {', '.join(known) or 'none'}"
        )
    return asked or next((t for t in ("label", "labels", "mask") if t in features), "")


def kind_of(features: tfds.features.FeaturesDict, feature: str) -> Target:
    """What kind of target a feature is; `none` where it is none, or empty."""
    kinds: tuple[Target, ...] = ("label", "labels", "mask")
    if feature in kinds:
        return feature
    if feature and small_features(features).get(feature):
        return "labels"
    return "none"


def classes_of(info: tfds.core.DatasetInfo, target: str) -> tuple[str, ...]:
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
