"""A prepared TFDS dataset: what it holds, and the examples of any part of its splits.

Parts of splits are written as `data_pipelines.sources.cuts` describes: `train`, `all[2:8].rest`,
`train[not snow][16 per class]`.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import PICTURES, Sensor
from data_pipelines.errors import UserError
from data_pipelines.registry import BuilderName, find_builder
from data_pipelines.sources.catalogue import Catalogue, small_features
from data_pipelines.sources.cuts import Flag, Part, cut
from data_pipelines.sources.records import Decoder, Record, Shards, Source, digest
from data_pipelines.sources.skipping import BadRecords, Blanking, Skipping
from data_pipelines.sources.windows import Grid, StoredPicture, Windows, places_of_cells

__all__ = [
    "Dataset",
    "Record",
    "Skipping",
    "Source",
    "StoredPicture",
    "Target",
    "Windows",
    "check_usable",
    "cut",
    "dataset_of",
    "digest",
    "is_prepared",
    "open_dataset",
    "open_folder",
]

Target = Literal["none", "label", "labels", "mask"]

ALL = "all"  # TFDS's own word for every split together


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
    feature_name = _target(name, features, target)
    metadata = info.metadata or {}
    grid = Grid.from_dict(metadata["windows"]) if "windows" in metadata else None
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


def is_prepared(name: str, data_dir: str | Path) -> bool:
    """Whether `open_dataset` would find a dataset of that name.

    Raises:
        UserError: there is no such builder.
    """
    return bool(_versions(find_builder(name), Path(data_dir)))


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

    def source(self, split: str, seed: int = 0) -> Source | Windows | Skipping:
        """The examples of a part of a split, as `data_pipelines.sources.cuts` describes.

        Raises:
            UserError: the split is not written as expected, does not exist or would be empty.
        """
        part = self._part(split, seed)
        return Skipping(part, self.bad_records) if self.bad_records.skip else part

    def expect(self, part: Part, written: str) -> None:
        """See that there is the split a part is of.

        Raises:
            UserError: there isn't; it says how the part was `written`.
        """
        if part.split not in self.splits:
            raise UserError(
                f"split {written!r}: dataset {self.name} has no split {part.split!r}; it has "
                + ", ".join(self.splits)
            )

    def _part(self, split: str, seed: int) -> Source | Windows:
        part = Part.parse(split)
        self.expect(part, split)
        cells = self._records(part.split)
        whole = Windows.over(cells, self.grid) if self.grid else cells
        rows = self._chosen(part, whole, seed, f"split {split!r} of {self.name}")
        if not len(rows):
            raise UserError(
                f"split {split!r}: has none of the {len(whole)} examples of {part.split!r} in "
                f"dataset {self.name}; expected a larger share"
            )
        if isinstance(whole, Windows):
            return Windows(whole.cells, whole.cell_rows, rows, whole.keys)
        return Source(whole.files, whole.decoders, whole.order, rows, whole.keys)

    def pictures(self, split: str, seed: int = 0) -> list[StoredPicture]:
        """The whole pictures of a part of a split, where every pixel is once.

        Where records are cells, windows of a picture may be on either side of a cut: the labels are
        then those that the windows of this part see. Elsewhere each record is a picture.

        Raises:
            UserError: as of `source`; also where the records have no masks.
        """
        if self.target != "mask":
            raise UserError(
                f"dataset {self.name}: its records have target {self.target!r}; expected 'mask' of "
                "pictures"
            )
        source = self._part(split, seed)
        if not isinstance(source, Windows):
            height, width, _ = self.image_shape
            all_of_it = np.ones((1, 1), bool)
            return [
                StoredPicture(
                    self._cells(source),
                    np.array([[position]]),
                    all_of_it,
                    (height, width),
                    height,
                    width,
                    self.ignore_label,
                )
                for position in range(len(source))
            ]
        assert self.grid is not None
        seen = np.zeros(len(source.cells), bool)
        seen[source.cell_rows[source.rows]] = True
        side = (self.grid.cell, self.grid.cell)
        return [
            StoredPicture(
                self._cells(source.cells),
                places,
                seen[places],
                side,
                *self._size(source.cells, places),
                self.ignore_label,
            )
            for places in places_of_cells(source.cells).values()
            if seen[places].any()
        ]

    def about(self, split: str, seed: int, source: Source | Windows | Skipping) -> dict[str, Any]:
        """Which examples a part of a split turned out to hold, as JSON can hold it.

        Of each class there is the number of examples, where the dataset has a catalogue; the digest
        is the same for the same examples.
        """
        if isinstance(source, Skipping):
            source = self._part(split, seed)
        about = {"split": split, "seed": seed, "examples": len(source)}
        catalogue = self._catalogue(Part.parse(split).split)
        if isinstance(source, Source) and catalogue and self.target in ("label", "labels"):
            labels = catalogue.columns[self.target_feature][source.order][source.rows]
            if labels.ndim == 1:
                labels = labels[:, None] == np.arange(len(self.classes))
            about["classes"] = dict(zip(self.classes, labels.sum(axis=0).tolist(), strict=True))
        return {**about, "digest": digest(source.identities())}

    def _size(self, cells: Source, places: np.ndarray) -> tuple[int, int]:
        """Height and width of a picture in pixels, from what its cells say of where it ends."""
        decoder = Decoder.of("inside", self.info.features["inside"])
        inside = dataclasses.replace(cells, decoders=(decoder,))
        height, width = (
            sum(self._extent(inside, line, axis) for line in lines)
            for axis, lines in enumerate((places, places.T))
        )
        return height, width

    def _extent(self, inside: Source, line: np.ndarray, axis: int) -> int:
        """How many pixels of a row or a column of cells lie in the picture."""
        if not self.bad_records.skip:
            return int(inside[line[0]]["inside"][axis])
        cells = Skipping(inside, self.bad_records)
        found = (cell for place in line if (cell := cells.exactly(place)) is not None)
        assert self.grid is not None
        # Where none can be read none counts, and so it doesn't matter where they end.
        return next((int(cell["inside"][axis]) for cell in found), self.grid.cell)

    def _cells(self, cells: Source) -> Source | Blanking:
        if not self.bad_records.skip:
            return cells
        return Blanking(Skipping(cells, self.bad_records), self.ignore_label)

    def _chosen(self, part: Part, whole: Source | Windows, seed: int, where: str) -> np.ndarray:
        """Positions in the whole split of those that a part names."""
        chosen = np.arange(len(whole))
        for step in part.steps:
            if isinstance(step, Flag):
                answers = self._answers(step.name, part.split, whole, where)
                chosen = chosen[answers[chosen] == step.wanted]
                continue
            if isinstance(whole, Windows) and step.pictures:
                names, picture = np.unique(whole.pictures()[chosen], return_inverse=True)
                inside = cut(np.zeros(len(names), int), step.share, seed, where)[picture]
            else:
                inside = cut(self._strata(part.split, whole)[chosen], step.share, seed, where)
            if isinstance(whole, Windows) and step.rest:
                # Windows overlap: what stands on one side must not be seen from the other.
                chosen = chosen[whole.apart_from(chosen[inside])[chosen]]
            else:
                chosen = chosen[inside != step.rest]
        return chosen

    def _answers(self, flag: str, split: str, whole: Source | Windows, where: str) -> np.ndarray:
        """What a yes/no feature says of each example of a split."""
        if isinstance(whole, Windows) or flag not in self._flags():
            flags = "" if isinstance(whole, Windows) else ", ".join(self._flags())
            raise UserError(
                f"{where}: the dataset has no yes/no feature {flag!r}; it has {flags or 'none'}"
            )
        return self._column(split, whole, flag)

    def _strata(self, split: str, whole: Source | Windows) -> np.ndarray:
        """The class of each example of a split, or its combination of labels; 0 without labels."""
        if isinstance(whole, Windows) or self.target not in ("label", "labels"):
            return np.zeros(len(whole), int)
        labels = self._column(split, whole, self.target_feature)
        return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)

    def _flags(self) -> tuple[str, ...]:
        features = self.info.features
        small = sorted(small_features(features))
        return tuple(name for name in small if features[name].np_dtype == np.bool_)

    def _column(self, split: str, whole: Source, feature: str) -> np.ndarray:
        """A small feature of all examples of a split, in their order: of the catalogue, else read.

        Whoever prepared the dataset without `data_pipelines.build` has no catalogue.
        """
        catalogue = self._catalogue(split)
        if catalogue is not None and feature in catalogue.columns:
            return catalogue.columns[feature][whole.order]
        name = self.target if feature == self.target_feature else feature
        decoder = self._decoder(name, feature)
        return np.stack([whole.files.read(row, (decoder,))[name] for row in whole.order])

    def _records(self, split: str) -> Source:
        """All stored records of a split, in the order of their keys where those are known."""
        count = self.splits[split]
        order = keys = np.arange(count)
        catalogue = self._catalogue(split)
        files = self.files(split)
        if catalogue is not None:
            keys = catalogue.keys
        elif self.grid and "id" in self.info.features:
            decoder = Decoder.of("id", self.info.features["id"])
            keys = np.array([files.read(row, (decoder,))["id"].item() for row in range(count)])
        if split != ALL:
            order = np.argsort(keys, kind="stable")
        else:  # one split after the other
            starts = np.cumsum([0, *(self.splits[s] for s in self.info.splits)])
            order = np.concatenate(
                [a + np.argsort(keys[a:b], kind="stable") for a, b in itertools.pairwise(starts)]
            )
        return Source(files, self._decoders(), order, np.arange(count), keys[order])

    def _catalogue(self, split: str) -> Catalogue | None:
        folder = Path(self.info.data_dir)
        files = [Catalogue.file(folder, s) for s in (self.info.splits if split == ALL else [split])]
        if not all(file.is_file() for file in files):
            return None
        catalogue = Catalogue.joined([Catalogue.load(file) for file in files])
        if len(catalogue.keys) != self.splits[split]:
            raise UserError(
                f"dataset {self.name}: its catalogue lists {len(catalogue.keys):,} records of "
                f"{split}, and {self.splits[split]:,} are stored; prepare it again with --overwrite"
            )
        return catalogue

    def files(self, split: str) -> Shards:
        """All stored records of a split, undecoded and in the order stored."""
        if self.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            raise UserError(
                f"dataset {self.name}: is stored as {self.info.file_format.value}; expected "
                f"array_record: {_build_command(self.name, self.info.data_dir)} --overwrite"
            )
        return Shards(self.info.splits[split].file_instructions)

    def _decoders(self) -> tuple[Decoder, ...]:
        image = Decoder.of("image", self.info.features["image"], self.channels)
        if self.target == "none":
            return (image,)
        return (image, self._decoder(self.target, self.target_feature))

    def _decoder(self, name: str, feature: str) -> Decoder:
        classes = small_features(self.info.features).get(feature, 0)
        return Decoder.of(name, self.info.features[feature], (), classes, feature)


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
        f"dataset {name}: is not prepared in {data_dir}; run {_build_command(name, data_dir)}"
    )


def _versions(found: BuilderName, data_dir: Path) -> list[Path]:
    """The folders of all prepared versions."""
    folder = data_dir.expanduser() / found.folder
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    return [version for version in versions if tfds.core.Version.is_valid(version.name)]


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


def _target(name: str, features: tfds.features.FeaturesDict, asked: str) -> str:
    """The feature to learn; empty where there is none."""
    if asked and (asked not in features or _kind(features, asked) == "none"):
        known = [feature for feature in sorted(features) if _kind(features, feature) != "none"]
        raise UserError(
            f"dataset {name}: has no target {asked!r}; it has {', '.join(known) or 'none'}"
        )
    return asked or next((t for t in ("label", "labels", "mask") if t in features), "")


def _kind(features: tfds.features.FeaturesDict, feature: str) -> Target:
    kinds: tuple[Target, ...] = ("label", "labels", "mask")
    if feature in kinds:
        return feature
    if feature and small_features(features).get(feature):
        return "labels"
    return "none"


def _classes(info: tfds.core.DatasetInfo, target: str) -> tuple[str, ...]:
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
