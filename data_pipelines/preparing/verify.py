"""Reads a prepared dataset back, record by record: what is there is what was meant to be there."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.preparing.encoding import Moments, crop_to_inside
from data_pipelines.preparing.progress import Counter
from data_pipelines.sources.catalogue import Catalogue, CatalogueWriter, small_features
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.records import Decoder
from data_pipelines.sources.stored_split import StoredSplit

__all__ = ["ReadBack", "read_back", "verify"]


class ReadBack(NamedTuple):
    """What the records of a split say.

    Attributes:
        catalogue: their keys (the feature `id`; their positions where there is none) and columns.
        moments: of their images.
    """

    catalogue: Catalogue
    moments: Moments


def verify(dataset: Dataset) -> dict[str, ReadBack]:
    """Read all records and compare them with the catalogue and the statistics beside them.

    Raises:
        UserError: a record can't be read, or the dataset isn't what its own description says.
    """
    folder = Path(dataset.info.data_dir)
    statistics_file = folder / "statistics.json"
    statistics = json.loads(statistics_file.read_text()) if statistics_file.is_file() else {}
    found = {}
    for split in dataset.info.splits:
        read = found[split] = read_back(dataset, split)
        file = Catalogue.file(folder, split)
        if file.is_file() and not _agree(read.catalogue, Catalogue.load(file), dataset):
            raise UserError(
                f"dataset {folder}: {file.name} does not describe the records of split {split}; "
                "expected it to: prepare the dataset again with --overwrite"
            )
        if split in statistics and not np.allclose(statistics[split]["mean"], read.moments.mean):
            raise UserError(
                f"dataset {folder}: the bands of split {split} have means "
                f"{read.moments.mean.round(2).tolist()}, and had {statistics[split]['mean']} when "
                "they were written; prepare the dataset again with --overwrite"
            )
    return found


def read_back(dataset: Dataset, split: str) -> ReadBack:
    """Read all records of a split, in the order stored.

    Raises:
        UserError: a record can't be read; the message names the file and the record.
    """
    features = dataset.info.features
    columns = small_features(features)
    decoders = [Decoder.for_feature("image", features["image"], dataset.channels)]
    decoders += [Decoder.for_feature(name, features[name], (), n) for name, n in columns.items()]
    if "mask" in features:
        decoders.append(Decoder.for_feature("mask", features["mask"]))
    if "inside" in features:
        decoders.append(Decoder.for_feature("inside", features["inside"]))
    if "id" in features:
        decoders.append(Decoder.for_feature("id", features["id"]))
    writer, moments = CatalogueWriter(columns), Moments()
    files = StoredSplit(dataset, split).files
    count = dataset.info.splits[split].num_examples
    with Counter(f"verifying {split}", count) as progress:
        for row in range(count):
            record = files.read(row, decoders)
            writer.append(record["id"].item() if "id" in record else row, record)
            moments += Moments.from_image(crop_to_inside(record["image"], record))
            progress.advance()
    return ReadBack(writer.catalogue(), moments)


def _agree(read: Catalogue, written: Catalogue, dataset: Dataset) -> bool:
    """Whether two catalogues are the same; keys only where the records know theirs."""
    if len(read.keys) != len(written.keys) or set(read.columns) != set(written.columns):
        return False
    columns = (np.array_equal(read.columns[n], written.columns[n]) for n in read.columns)
    return all(columns) and (
        "id" not in dataset.info.features or np.array_equal(read.keys, written.keys)
    )
