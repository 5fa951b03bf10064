"""Verification of a prepared dataset: all records are read and compared with its description."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.preparing.encoding import Moments, select_measured
from data_pipelines.preparing.progress import ProgressCounter
from data_pipelines.sources.catalogue import (
    MASK_PIXELS,
    Catalogue,
    CatalogueWriter,
    MaskClasses,
    catalogue_columns,
    small_features,
)
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.records import Decoder
from data_pipelines.sources.stored_split import StoredSplit
from data_pipelines.sources.windows import crop_to_inside

__all__ = ["SplitContents", "read_back", "verify"]


class SplitContents(NamedTuple):
    """The catalogue and moments computed from the records of a split.

    Attributes:
        catalogue: The records' keys (the feature `id`, or their indices if there is none) and
            columns.
        moments: Moments of their images.
    """

    catalogue: Catalogue
    moments: Moments


def verify(dataset: Dataset) -> dict[str, SplitContents]:
    """Read all records and compare them with the catalogue and the statistics beside them.

    Args:
        dataset: The prepared dataset.

    Returns:
        {split: its contents}.

    Raises:
        UserError: If a record can't be read, or the catalogue or the statistics don't match the
            records.
    """
    folder = Path(dataset.info.data_dir)
    statistics_file = folder / "statistics.json"
    statistics = json.loads(statistics_file.read_text()) if statistics_file.is_file() else {}
    contents = {}
    for split in dataset.info.splits:
        read = contents[split] = read_back(dataset, split)
        file = Catalogue.file(folder, split)
        if file.is_file() and not _catalogues_match(read.catalogue, Catalogue.load(file), dataset):
            raise UserError(
                f"dataset {folder}: {file.name} does not match the records of split {split}; "
                "prepare the dataset again with --overwrite"
            )
        if split in statistics and not np.allclose(statistics[split]["mean"], read.moments.mean):
            raise UserError(
                f"dataset {folder}: the bands of split {split} have means "
                f"{read.moments.mean.round(2).tolist()}; expected {statistics[split]['mean']} from "
                f"{statistics_file.name}; prepare the dataset again with --overwrite"
            )
    return contents


def read_back(dataset: Dataset, split: str) -> SplitContents:
    """Read all records of a split, in the order stored.

    Args:
        dataset: The prepared dataset.
        split: Name of the split.

    Raises:
        UserError: If a record can't be read; the message names the file and the record.
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
    writer, moments = CatalogueWriter(catalogue_columns(dataset.info)), Moments()
    info, mask_classes = dataset.info, MaskClasses.of(dataset.info)
    shards = StoredSplit(dataset, split).shards
    count = dataset.info.splits[split].num_examples
    with ProgressCounter(f"verifying {split}", count) as progress:
        for index in range(count):
            record = shards.read(index, decoders)
            if mask_classes.number:
                mask = crop_to_inside(record["mask"], record)
                record[MASK_PIXELS] = mask_classes.count_pixels(mask)
            writer.append(record["id"].item() if "id" in record else index, record)
            moments += Moments.from_image(select_measured(record["image"], record, info.metadata))
            progress.advance()
    return SplitContents(writer.make_catalogue(), moments)


def _catalogues_match(read: Catalogue, written: Catalogue, dataset: Dataset) -> bool:
    """Return whether two catalogues are equal; keys count only if the records store them."""
    # Catalogues of earlier versions don't count the pixels of masks.
    compared = set(read.columns) - ({MASK_PIXELS} - set(written.columns))
    if len(read.keys) != len(written.keys) or compared != set(written.columns):
        return False
    columns = (np.array_equal(read.columns[n], written.columns[n]) for n in compared)
    return all(columns) and (
        "id" not in dataset.info.features or np.array_equal(read.keys, written.keys)
    )
