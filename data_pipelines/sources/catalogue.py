"""Keys, labels and flags of all records of a split, in one small file beside the shards.

Records are tens of kilobytes, but stratified splits and filters need only a few bytes of each. The
keys also define the order of a split: it is the same for the same examples, whichever process or
number of workers wrote them.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.errors import UserError

__all__ = [
    "MASK_PIXELS",
    "Catalogue",
    "CatalogueWriter",
    "MaskClasses",
    "catalogue_columns",
    "small_features",
]

# Name of the column that counts, for each mask, the pixels of each class and, last, of none.
MASK_PIXELS = "mask_pixels"

_COLUMN = "column_"
# Number of examples collected before they are packed into arrays.
_BLOCK = 1024


@dataclass(frozen=True)
class Catalogue:
    """The small features of all records of a split.

    Attributes:
        keys: (records,) int64 or bytes, in stored order.
        columns: {feature: (records, ...)}: `label` () int32, a list of labels (classes,) uint8
            multi-hot, or a flag () bool; and of masks `MASK_PIXELS`, (classes + 1,) int32.
    """

    keys: np.ndarray
    columns: Mapping[str, np.ndarray]

    @staticmethod
    def file(folder: Path, split: str) -> Path:
        """Return the path of the catalogue of a split in the folder of a dataset."""
        return folder / f"catalogue-{split}.npz"

    @classmethod
    def load(cls, file: Path) -> "Catalogue":
        """Load a catalogue that `save` wrote.

        Raises:
            UserError: If the file is corrupt.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                columns = {
                    name.removeprefix(_COLUMN): arrays[name]
                    for name in arrays.files
                    if name.startswith(_COLUMN)
                }
                return cls(arrays["keys"], columns)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise UserError(
                f"file {file}: is corrupt, or not a catalogue of records ({error}); copy it again, "
                "or prepare the dataset again with --overwrite"
            ) from error

    @classmethod
    def concatenate(cls, catalogues: Sequence["Catalogue"]) -> "Catalogue":
        """Concatenate the records of one or more catalogues."""
        return cls(
            np.concatenate([catalogue.keys for catalogue in catalogues]),
            {
                name: np.concatenate([catalogue.columns[name] for catalogue in catalogues])
                for name in catalogues[0].columns
            },
        )

    def save(self, file: Path) -> None:
        """Write the catalogue to a file; a prefix keeps column names apart from `keys`."""
        columns = {_COLUMN + name: values for name, values in self.columns.items()}
        np.savez_compressed(file, allow_pickle=False, keys=self.keys, **columns)


def small_features(features: tfds.features.FeaturesDict) -> dict[str, int]:
    """Find the features that a catalogue holds: labels, lists of labels and flags.

    Returns:
        {feature: number of classes of a list of labels, 0 of other features}.
    """
    num_classes = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", None)
        size = feature.shape[0] if len(feature.shape or ()) == 1 else None
        if isinstance(inner, tfds.features.ClassLabel):
            num_classes[name] = inner.num_classes
        elif name == "labels" and size:  # stored multi-hot
            num_classes[name] = size
        elif name == "label" or (feature.shape == () and feature.np_dtype == np.bool_):
            num_classes[name] = 0
    return num_classes


def catalogue_columns(info: tfds.core.DatasetInfo) -> tuple[str, ...]:
    """Return the names of the columns of the catalogues of a dataset."""
    masks = [MASK_PIXELS] if MaskClasses.of(info).number else []
    return (*small_features(info.features), *masks)


class MaskClasses(NamedTuple):
    """The classes of a dataset's masks.

    Attributes:
        number: Number of classes; 0 without masks, or if these are encoded files.
        ignore_label: Value of unlabelled pixels.
    """

    number: int
    ignore_label: int

    @classmethod
    def of(cls, info: tfds.core.DatasetInfo) -> "MaskClasses":
        """Find the classes in TFDS's description of a dataset."""
        metadata = info.metadata or {}
        features = dict(info.features.items())
        has_masks = type(features.get("mask")) is tfds.features.Tensor
        number = len(metadata.get("classes", ())) if has_masks else 0
        return cls(number, metadata.get("ignore_label", 255))

    def count_pixels(self, mask: np.ndarray) -> np.ndarray:
        """Count the pixels of each class in a mask.

        Args:
            mask: Integer array of any shape.

        Returns:
            (classes + 1,) int32, last the number of unlabelled pixels.
        """
        is_unlabelled = (mask == self.ignore_label) | (mask >= self.number)
        classes = np.where(is_unlabelled, self.number, mask).reshape(-1)
        return np.bincount(classes, minlength=self.number + 1).astype(np.int32)


class CatalogueWriter:
    """Collects a catalogue record by record, in little memory."""

    def __init__(self, names: Iterable[str]) -> None:
        """Create an empty catalogue.

        Args:
            names: The features to collect.
        """
        self._keys: list[int | bytes] = []
        self._recent: dict[str, list[Any]] = {name: [] for name in names}
        self._packed: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def append(self, key: int | bytes, columns: Mapping[str, Any]) -> None:
        """Add the next stored record."""
        self._keys.append(key)
        for name, values in self._recent.items():
            values.append(columns[name])
        if len(self._keys) % _BLOCK == 0:
            self._pack()

    def make_catalogue(self) -> Catalogue:
        """Return the catalogue of the records added so far."""
        self._pack()
        columns = {name: np.concatenate(blocks) for name, blocks in self._packed.items() if blocks}
        return Catalogue(np.array(self._keys), columns)

    def _pack(self) -> None:
        for name, values in self._recent.items():
            if values:
                self._packed[name].append(np.stack(values))
                values.clear()
