"""A prepared TFDS dataset as random-access records, with seeded stratified cuts of its splits.

A split is written

    train                  all of it; `all` is every split of the dataset together
    train[2:8]             the training side of a stratified 2:8 cut: two tenths of every class
    train[10%]             ten percent of every class
    train[16 per class]    sixteen of every class

and with `.rest` behind the bracket it is the other side of the same cut. Datasets without labels
are cut at random; multi-label ones within each combination of labels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.bands import PICTURES, Sensor
from data_pipelines.errors import UserError
from data_pipelines.registry import BuilderName, find_builder

__all__ = ["Dataset", "Record", "Source", "Target", "cut", "open_dataset"]

Target = Literal["none", "label", "labels", "mask"]
Record = dict[str, np.ndarray]

ALL = "all"  # TFDS's own word for every split together


def open_dataset(name: str, data_dir: str | Path, bands: Sequence[str] = ()) -> "Dataset":
    """Open a prepared dataset.

    Args:
        name: of the builder, as `registry.find_builder` takes it: `demo_tiles`, `demo_tiles/small`,
            `package.module:Class`.
        data_dir: where the dataset was prepared.
        bands: names or aliases of the bands wanted, in the order wanted; empty for all it has.

    Raises:
        UserError: no such builder, not prepared in `data_dir`, no usable `image`, or no such band.
    """
    found = find_builder(name)
    info = tfds.builder_from_directory(_prepared(name, found, Path(data_dir))).info
    features = info.features
    if "image" not in features:
        raise UserError(
            f"dataset {name}: has no feature `image`, only {', '.join(features)}; expected `image` "
            "and, where it is labelled, `label`, `labels` or `mask`"
        )
    shape, dtype = tuple(features["image"].shape), np.dtype(features["image"].np_dtype)
    if len(shape) != 3 or None in shape or dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"dataset {name}: its images are {dtype} of shape {shape}; expected uint8 or uint16 of "
            "one fixed (height, width, bands)"
        )
    sensor = _sensor(name, info, shape[2])
    selected = sensor.select(bands) if bands else sensor
    target = _target(features)
    metadata = info.metadata or {}
    splits = {split: size.num_examples for split, size in info.splits.items()}
    return Dataset(
        name=name,
        sensor=selected,
        image_shape=(shape[0], shape[1], len(selected.bands)),
        image_dtype=dtype,
        target=target,
        classes=_classes(info, target),
        colours=tuple(tuple(colour) for colour in metadata.get("colours", ())),
        ignore_label=metadata.get("ignore_label", 255),
        splits={**splits, ALL: sum(splits.values())},
        info=info,
        channels=sensor.indices(bands) if bands else tuple(range(shape[2])),
    )


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, seen through the bands asked for.

    Attributes:
        name: as it was opened.
        sensor: the selected bands, in the order of the images' last axis.
        image_shape: (height, width, bands).
        image_dtype: uint8 or uint16 digital numbers.
        target: what its examples carry beside the image.
        classes: names, in the order of the labels; empty where it has no target.
        colours: red, green, blue of each class; empty where it has none.
        ignore_label: the value of unlabelled pixels in masks.
        splits: examples in each split, and in `all`.
        info: what TFDS knows of it.
        channels: of the stored images, those of the selected bands.
    """

    name: str
    sensor: Sensor
    image_shape: tuple[int, int, int]
    image_dtype: np.dtype
    target: Target
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    ignore_label: int
    splits: dict[str, int]
    info: tfds.core.DatasetInfo
    channels: tuple[int, ...]

    def source(self, split: str, seed: int = 0) -> "Source":
        """The examples of a split or of one side of a seeded cut of it, as the module describes.

        Raises:
            UserError: the split is not written as expected, does not exist or would be empty.
        """
        part = Part.parse(split)
        if part.split not in self.splits:
            raise UserError(
                f"split {split!r}: dataset {self.name} has no split {part.split!r}; it has "
                + ", ".join(self.splits)
            )
        whole = Source(
            self._files(part.split), self._decoders(), np.arange(self.splits[part.split])
        )
        if not part.cut:
            return whole
        inside = cut(whole.strata(), part.cut, seed, f"split {split!r} of {self.name}")
        rows = np.flatnonzero(inside != part.rest)
        if not len(rows):
            raise UserError(
                f"split {split!r}: has none of the {len(whole)} examples of {part.split!r} in "
                f"dataset {self.name}; expected a larger share"
            )
        return Source(whole.files, whole.decoders, rows)

    def _files(self, split: str) -> ArrayRecordDataSource:
        if self.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            raise UserError(
                f"dataset {self.name}: is stored as {self.info.file_format.value}; expected "
                f"array_record: {_build_command(self.name, self.info.data_dir)} --overwrite"
            )
        return ArrayRecordDataSource(self.info.splits[split].file_instructions)

    def _decoders(self) -> "tuple[Decoder, ...]":
        features = self.info.features
        decoders = [Decoder.of("image", features["image"], self.channels)]
        if self.target == "labels":
            decoders.append(Decoder.of("labels", features["labels"], classes=len(self.classes)))
        elif self.target != "none":
            decoders.append(Decoder.of(self.target, features[self.target]))
        return tuple(decoders)


@dataclass(frozen=True, eq=False)
class Source:
    """Examples by position. Can be pickled and read from many threads at once.

    `source[i]` is a dict of `image` (h, w, c) uint8 or uint16, `index` () int32, the example's
    place in its whole split, and where the dataset has it `label` () int32, `labels` (classes,)
    uint8 multi-hot, or `mask` (h, w) uint8. Arrays may be read-only.
    """

    files: ArrayRecordDataSource
    decoders: "tuple[Decoder, ...]"
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        row = self.rows[position]
        record = self._decode(self.files[row], self.decoders)
        return {**record, "index": np.array(row, np.int32)}

    def strata(self) -> np.ndarray:
        """(examples,) int: equal for examples with equal labels. Decodes the labels only."""
        label = next((d for d in self.decoders if d.name in ("label", "labels")), None)
        if label is None:
            return np.zeros(len(self), int)
        labels = [self._decode(self.files[row], (label,))[label.name] for row in self.rows]
        return np.unique(np.stack(labels), axis=0, return_inverse=True)[1].reshape(-1)

    @staticmethod
    def _decode(serialized: bytes, decoders: "Sequence[Decoder]") -> Record:
        stored = tf_example_pb2.Example.FromString(serialized).features.feature
        return {decoder.name: decoder(stored[decoder.name]) for decoder in decoders}


@dataclass(frozen=True)
class Decoder:
    """One feature of a stored example -> array.

    Attributes:
        name: of the feature.
        feature: TFDS's description of it.
        raw: whether it is stored as the array's bytes, which TFDS takes longer to read than NumPy.
        shape: of the array; an empty one for a label.
        channels: of an image, those to keep: a slice where it can be one, for that costs no copy.
        classes: of a multi-label feature, how many there are; 0 for other features.
    """

    name: str
    feature: tfds.features.FeatureConnector
    raw: bool
    shape: tuple[int, ...]
    channels: slice | list[int]
    classes: int

    @classmethod
    def of(
        cls,
        name: str,
        feature: tfds.features.FeatureConnector,
        channels: Sequence[int] = (),
        classes: int = 0,
    ) -> "Decoder":
        """The decoder for a feature of a dataset."""
        raw = (
            type(feature) is tfds.features.Tensor
            and feature.to_json_content().encoding == tfds.features.Encoding.BYTES.value
        )
        contiguous = channels and list(channels) == list(range(channels[0], channels[-1] + 1))
        kept = slice(channels[0], channels[-1] + 1) if contiguous else list(channels) or slice(None)
        return cls(name, feature, raw, tuple(feature.shape), kept, classes)

    def __call__(self, stored: Any) -> np.ndarray:
        """Decode a `tf.train.Feature`."""
        if self.name == "label":
            return np.array(stored.int64_list.value[0], np.int32)
        if self.classes:
            return self._multi_hot(stored)
        array = self._array(stored)
        if self.name == "mask":
            return array.reshape(array.shape[:2])
        return array[:, :, self.channels]

    def _array(self, stored: Any) -> np.ndarray:
        if self.raw:
            return np.frombuffer(stored.bytes_list.value[0], self.feature.np_dtype).reshape(
                self.shape
            )
        if stored.bytes_list.value:
            return self.feature.decode_example_np(stored.bytes_list.value[0])
        return np.array(stored.int64_list.value, self.feature.np_dtype).reshape(self.shape)

    def _multi_hot(self, stored: Any) -> np.ndarray:
        if self.shape == (self.classes,):
            return self._array(stored).astype(np.uint8)
        multi_hot = np.zeros(self.classes, np.uint8)
        multi_hot[np.array(stored.int64_list.value, int)] = 1
        return multi_hot


class Part(NamedTuple):
    """A split as it is written: `split`, `split[cut]` or `split[cut].rest`."""

    split: str
    cut: str
    rest: bool

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Take `text` apart.

        Raises:
            UserError: it is not written as expected.
        """
        match = re.fullmatch(r"([\w-]+)(?:\[([^\[\]]+)\](\.rest)?)?", text)
        if match is None or (match[2] and _share(match[2]) is None):
            raise UserError(
                f"split {text!r}: expected NAME, NAME[2:8], NAME[10%] or NAME[16 per class], "
                "the last three also with .rest"
            )
        return cls(match[1], match[2] or "", bool(match[3]))


def cut(strata: np.ndarray, share: str, seed: int, where: str = "cut") -> np.ndarray:
    """Which examples fall on the training side of a stratified seeded cut.

    Args:
        strata: (examples,) int, the class of each.
        share: `2:8`, `10%` or `16 per class`.
        seed: other seeds, other examples.
        where: what an error speaks of.

    Returns:
        (examples,) bool. Of n examples and a share f, ⌊n·f⌋ are true, and in every stratum of m
        examples ⌊m·f⌋ or ⌈m·f⌉ of them.
    """
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    by_class = shuffled[np.argsort(strata[shuffled], kind="stable")]
    inside = np.zeros(len(strata), bool)
    size = _share(share)
    if isinstance(size, Fraction):
        # Systematic sampling: walk through the classes one after the other and take an example
        # whenever the share of those passed reaches the next whole number.
        passed = np.arange(len(strata) + 1, dtype=object) * size.numerator // size.denominator
        inside[by_class] = np.diff(passed).astype(bool)
        return inside
    assert size is not None
    classes, first, counts = np.unique(strata[by_class], return_index=True, return_counts=True)
    if len(classes) and counts.min() < size:
        raise UserError(
            f"{where}: a class has {counts.min()} examples; expected at least the {size} asked for"
        )
    for start in first:
        inside[by_class[start : start + size]] = True
    return inside


def _share(text: str) -> Fraction | int | None:
    """A proportion, a number per class, or None for what is neither."""
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*:\s*(\d+(?:\.\d+)?)\s*", text):
        one, other = Fraction(match[1]), Fraction(match[2])
        return one / (one + other) if one + other else None
    if match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text):
        percent = Fraction(match[1])
        return percent / 100 if percent <= 100 else None
    if match := re.fullmatch(r"\s*(\d+)\s+per\s+class\s*", text):
        return int(match[1])
    return None


def _prepared(name: str, found: BuilderName, data_dir: Path) -> Path:
    """The folder of the newest prepared version."""
    folder = data_dir.expanduser() / found.folder
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    versions = [version for version in versions if tfds.core.Version.is_valid(version.name)]
    if versions:
        return max(versions, key=lambda version: tfds.core.Version(version.name))
    if found.config and found.configs and found.config not in found.configs:
        raise UserError(
            f"dataset {name}: has no config {found.config!r}; expected one of "
            + ", ".join(found.configs)
        )
    raise UserError(
        f"dataset {name}: is not prepared in {data_dir}; run {_build_command(name, data_dir)}"
    )


def _build_command(name: str, data_dir: str | Path) -> str:
    return f"python -m data_pipelines.build {name} --data_dir {data_dir}"


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


def _target(features: tfds.features.FeaturesDict) -> Target:
    targets: tuple[Target, ...] = ("label", "labels", "mask")
    return next((target for target in targets if target in features), "none")


def _classes(info: tfds.core.DatasetInfo, target: Target) -> tuple[str, ...]:
    if target == "none":
        return ()
    named = (info.metadata or {}).get("classes")
    if named:
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
