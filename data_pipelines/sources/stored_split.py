"""One split of a prepared dataset as it is stored: its records, their order and small features."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
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
    """A split of a dataset, or `all` of them one after the other.

    Attributes:
        dataset: whose split it is.
        name: of the split.
    """

    dataset: Dataset
    name: str

    @cached_property
    def examples(self) -> RecordSource | Windows:
        """All examples of the split: its records or, where these are cells, windows over them."""
        grid = self.dataset.grid
        return Windows.over_blocks(self._records, grid) if grid else self._records

    @cached_property
    def files(self) -> Shards:
        """All stored records, undecoded and in the order stored.

        Raises:
            UserError: they are not stored as ArrayRecord.
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
        """What is known of each record without reading it; None where there is no catalogue.

        Raises:
            UserError: it is damaged, or not one of these records.
        """
        info, stored = self.dataset.info, self.dataset.splits[self.name]
        names = info.splits if self.name == ALL else [self.name]
        files = [Catalogue.file(Path(info.data_dir), name) for name in names]
        if not all(file.is_file() for file in files):
            return None
        catalogue = Catalogue.joined([Catalogue.load(file) for file in files])
        if len(catalogue.keys) != stored:
            raise UserError(
                f"dataset {self.dataset.name}: its catalogue lists {len(catalogue.keys):,} records "
                f"of {self.name}, and {stored:,} are stored; prepare it again with --overwrite"
            )
        return catalogue

    def strata(self) -> np.ndarray:
        """(examples,) int: the class of each, or its combination of labels; 0 without labels."""
        if self.dataset.target not in ("label", "labels") or self.dataset.grid:
            return np.zeros(len(self.examples), int)
        labels = self._column(self.dataset.target_feature)
        return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)

    def flag(self, name: str, where: str) -> np.ndarray:
        """(examples,) bool: what a yes/no feature says of each.

        Raises:
            UserError: there is no such feature; the message begins with `where`.
        """
        features = self.dataset.info.features
        flags = [f for f in sorted(small_features(features)) if features[f].np_dtype == np.bool_]
        known = [] if self.dataset.grid else flags
        if name not in known:
            raise UserError(
                f"{where}: the dataset has no yes/no feature {name!r}; it has "
                f"{', '.join(known) or 'none'}"
            )
        return self._column(name)

    @cached_property
    def _records(self) -> RecordSource:
        """All stored records, in the order of their keys where those are known."""
        info, splits = self.dataset.info, self.dataset.splits
        count = splits[self.name]
        keys = np.arange(count)
        if self.catalogue is not None:
            keys = self.catalogue.keys
        elif self.dataset.grid and "id" in info.features:
            decoder = Decoder.for_feature("id", info.features["id"])
            keys = np.array([self.files.read(row, (decoder,))["id"].item() for row in range(count)])
        if self.name != ALL:
            order = np.argsort(keys, kind="stable")
        else:  # one split after the other
            starts = np.cumsum([0, *(splits[name] for name in info.splits)])
            order = np.concatenate(
                [a + np.argsort(keys[a:b], kind="stable") for a, b in itertools.pairwise(starts)]
            )
        return RecordSource(self.files, self._decoders(), order, np.arange(count), keys[order])

    def _decoders(self) -> tuple[Decoder, ...]:
        dataset = self.dataset
        image = Decoder.for_feature("image", dataset.info.features["image"], dataset.channels)
        if dataset.target == "none":
            return (image,)
        return (image, self._decoder(dataset.target, dataset.target_feature))

    def _decoder(self, name: str, feature: str) -> Decoder:
        features = self.dataset.info.features
        classes = small_features(features).get(feature, 0)
        return Decoder.for_feature(name, features[feature], (), classes, feature)

    def _column(self, feature: str) -> np.ndarray:
        """A small feature of all records, in their order: of the catalogue, else read.

        Whoever prepared the dataset without `data_pipelines.build` has no catalogue.
        """
        records = self._records
        if self.catalogue is not None and feature in self.catalogue.columns:
            return self.catalogue.columns[feature][records.order]
        name = self.dataset.target if feature == self.dataset.target_feature else feature
        decoder = self._decoder(name, feature)
        return np.stack([self.files.read(row, (decoder,))[name] for row in records.order])
