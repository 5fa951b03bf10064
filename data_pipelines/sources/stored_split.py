"""A split of a prepared dataset as stored on disk: its records, their order and small features."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.sources.catalogue import Catalogue, small_features
from data_pipelines.sources.dataset import ALL, Dataset, build_command
from data_pipelines.sources.records import Decoder, RecordSource, Shards
from data_pipelines.sources.windows import Windows

__all__ = ["StoredSplit"]


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """A split of a dataset; for the name `all`, all of its splits one after the other.

    Attributes:
        dataset: The dataset.
        name: Name of the split.
    """

    dataset: Dataset
    name: str

    @cached_property
    def examples(self) -> RecordSource | Windows:
        """All examples of the split: its records or, if these are blocks, windows over them."""
        grid = self.dataset.grid
        return Windows.over_blocks(self._records, grid) if grid else self._records

    @cached_property
    def shards(self) -> Shards:
        """All stored records, in stored order and not decoded.

        Raises:
            UserError: If they are not stored as ArrayRecord.
        """
        name, info = self.dataset.name, self.dataset.info
        if info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            raise UserError(
                f"dataset {name}: is stored as {info.file_format.value}; expected "
                f"array_record: {build_command(name, info.data_dir)} --overwrite"
            )
        return Shards(info.splits[self.name].file_instructions)

    @cached_property
    def catalogue(self) -> Catalogue | None:
        """The catalogue of the split, or None if the dataset has none.

        Raises:
            UserError: If the catalogue is corrupt, or lists another number of records.
        """
        info, num_stored = self.dataset.info, self.dataset.splits[self.name]
        names = info.splits if self.name == ALL else [self.name]
        files = [Catalogue.file(Path(info.data_dir), name) for name in names]
        if not all(file.is_file() for file in files):
            return None
        catalogue = Catalogue.concatenate([Catalogue.load(file) for file in files])
        if len(catalogue.keys) != num_stored:
            raise UserError(
                f"dataset {self.dataset.name}: its catalogue lists {len(catalogue.keys):,} records "
                f"of {self.name}, but {num_stored:,} are stored; prepare it again with --overwrite"
            )
        return catalogue

    def load_strata(self) -> np.ndarray:
        """Load the classes of the examples.

        Returns:
            (examples,) int, class or combination of labels of each example; 0 without labels.
        """
        if self.dataset.target not in ("label", "labels") or self.dataset.grid:
            return np.zeros(len(self.examples), int)
        labels = self._load_column(self.dataset.target_feature)
        return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)

    def load_flag(self, name: str, error_prefix: str) -> np.ndarray:
        """Load a boolean feature of the examples.

        Args:
            name: Name of the feature.
            error_prefix: What the error message begins with.

        Returns:
            (examples,) bool.

        Raises:
            UserError: If there is no such feature.
        """
        features = self.dataset.info.features
        boolean = [f for f in sorted(small_features(features)) if features[f].np_dtype == np.bool_]
        flags = [] if self.dataset.grid else boolean
        if name not in flags:
            raise UserError(
                f"{error_prefix}: the dataset has no boolean feature {name!r}; it has "
                f"{', '.join(flags) or 'none'}"
            )
        return self._load_column(name)

    @cached_property
    def _records(self) -> RecordSource:
        """All stored records, in the order of their keys if these are known."""
        info, splits = self.dataset.info, self.dataset.splits
        count = splits[self.name]
        keys = np.arange(count)
        if self.catalogue is not None:
            keys = self.catalogue.keys
        elif self.dataset.grid and "id" in info.features:
            decoder = Decoder.for_feature("id", info.features["id"])
            ids = [self.shards.read(row, (decoder,))["id"].item() for row in range(count)]
            keys = np.array(ids)
        if self.name != ALL:
            order = np.argsort(keys, kind="stable")
        else:  # one split after the other
            starts = np.cumsum([0, *(splits[name] for name in info.splits)])
            order = np.concatenate(
                [a + np.argsort(keys[a:b], kind="stable") for a, b in itertools.pairwise(starts)]
            )
        return RecordSource(
            self.shards, self._make_decoders(), order, np.arange(count), keys[order]
        )

    def _make_decoders(self) -> tuple[Decoder, ...]:
        dataset = self.dataset
        image = Decoder.for_feature("image", dataset.info.features["image"], dataset.channels)
        image = replace(image, conversion=dataset.conversion)
        if dataset.target == "none":
            return (image,)
        return (image, self._make_decoder(dataset.target, dataset.target_feature))

    def _make_decoder(self, name: str, feature: str) -> Decoder:
        features = self.dataset.info.features
        num_classes = small_features(features).get(feature, 0)
        return Decoder.for_feature(name, features[feature], (), num_classes, feature)

    def _load_column(self, feature: str) -> np.ndarray:
        """Load a small feature of all records, in order, from the catalogue or else the records.

        There is no catalogue if the dataset was prepared without `data_pipelines.build`.
        """
        records = self._records
        if self.catalogue is not None and feature in self.catalogue.columns:
            return self.catalogue.columns[feature][records.order]
        name = self.dataset.target if feature == self.dataset.target_feature else feature
        decoder = self._make_decoder(name, feature)
        return np.stack([self.shards.read(row, (decoder,))[name] for row in records.order])
