"""Keys, labels and flags of all records of a split, in one small file beside them.

Records are tens of kilobytes; what a stratified cut or a filter asks of them is a few bytes. The
keys also give a split its order: the same for the same examples, whoever wrote them and with
however many workers.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.errors import UserError

__all__ = ["Catalogue", "CatalogueWriter", "small_features"]

_COLUMN = "column_"
# Examples gathered before they are packed into arrays.
_BLOCK = 1024


@dataclass(frozen=True)
class Catalogue:
    """What is known of each record without reading it.

    Attributes:
        keys: (records,) int64 or bytes, in the order stored.
        columns: {feature: (records, ...)}: `label` () int32, a list of labels (classes,) uint8
            multi-hot, or a flag () bool.
    """

    keys: np.ndarray
    columns: Mapping[str, np.ndarray]

    @staticmethod
    def file(folder: Path, split: str) -> Path:
        """Where the catalogue of a split lies in a dataset's folder."""
        return folder / f"catalogue-{split}.npz"

    @classmethod
    def load(cls, file: Path) -> "Catalogue":
        """The catalogue that `save` wrote.

        Raises:
            UserError: the file is damaged.
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
                f"file {file}: is no catalogue of records, or damaged ({error}); copy it again, "
                "or prepare the dataset again with --overwrite"
            ) from error

    @classmethod
    def joined(cls, parts: Sequence["Catalogue"]) -> "Catalogue":
        """The records of all parts, one part after the other; at least one part."""
        return cls(
            np.concatenate([part.keys for part in parts]),
            {
                name: np.concatenate([part.columns[name] for part in parts])
                for name in parts[0].columns
            },
        )

    def save(self, file: Path) -> None:
        """Write it; column names keep their own, so that none can pass for `keys`."""
        columns = {_COLUMN + name: values for name, values in self.columns.items()}
        np.savez_compressed(file, allow_pickle=False, keys=self.keys, **columns)


def small_features(features: tfds.features.FeaturesDict) -> dict[str, int]:
    """The features a catalogue holds: labels, lists of labels and flags.

    Returns:
        {feature: number of classes of a list of labels, else 0}.
    """
    found = {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", None)
        classes = feature.shape[0] if len(feature.shape or ()) == 1 else None
        if isinstance(inner, tfds.features.ClassLabel):
            found[name] = inner.num_classes
        elif name == "labels" and classes:  # multi-hot already
            found[name] = classes
        elif name == "label" or (feature.shape == () and feature.np_dtype == np.bool_):
            found[name] = 0
    return found


class CatalogueWriter:
    """Gathers a catalogue, record by record, in little memory."""

    def __init__(self, names: Iterable[str]) -> None:
        self._keys: list[int | bytes] = []
        self._recent: dict[str, list[Any]] = {name: [] for name in names}
        self._packed: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def append(self, key: int | bytes, columns: Mapping[str, Any]) -> None:
        """Add the record stored next."""
        self._keys.append(key)
        for name, values in self._recent.items():
            values.append(columns[name])
        if len(self._keys) % _BLOCK == 0:
            self._pack()

    def catalogue(self) -> Catalogue:
        """What was gathered."""
        self._pack()
        columns = {name: np.concatenate(blocks) for name, blocks in self._packed.items() if blocks}
        return Catalogue(np.array(self._keys), columns)

    def _pack(self) -> None:
        for name, values in self._recent.items():
            if values:
                self._packed[name].append(np.stack(values))
                values.clear()
