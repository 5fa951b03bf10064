"""Examples of a prepared dataset by position, decoded from their stored bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.proto import tf_example_pb2

__all__ = ["Decoder", "Record", "Source", "digest"]

Record = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Source:
    """Examples by position. Can be pickled and read from many threads at once.

    `source[i]` is a dict of `image` (h, w, c) uint8 or uint16, `index` () int32, the example's
    place in its whole split, and where the dataset has it `label` () int32, `labels` (classes,)
    uint8 multi-hot, or `mask` (h, w) uint8. Arrays may be read-only.

    Attributes:
        files: the stored records.
        decoders: one for each feature.
        order: (examples of the split,) int, the stored position of each.
        rows: (examples,) int, those of the split that are in this source.
        keys: (examples of the split,) their names; their stored positions where they have none.
    """

    files: ArrayRecordDataSource
    decoders: "tuple[Decoder, ...]"
    order: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        row = self.rows[position]
        record = decode(self.files[self.order[row]], self.decoders)
        return {**record, "index": np.array(row, np.int32)}

    def identities(self) -> np.ndarray:
        """(examples,) names or stored positions, in the order of this source."""
        return self.keys[self.rows]


def digest(identities: np.ndarray) -> str:
    """A fingerprint of which examples a source holds, whatever their order."""
    return hashlib.sha256(np.sort(identities).tobytes()).hexdigest()[:16]


def decode(serialized: bytes, decoders: "Sequence[Decoder]") -> Record:
    """The features of a stored `tf.train.Example`."""
    stored = tf_example_pb2.Example.FromString(serialized).features.feature
    return {decoder.name: decoder(stored[decoder.feature_name]) for decoder in decoders}


@dataclass(frozen=True)
class Decoder:
    """One feature of a stored example -> array.

    Attributes:
        name: the array's name in a record.
        feature_name: the feature's name in the dataset.
        feature: TFDS's description of it.
        raw: whether it is stored as the array's bytes, which TFDS takes longer to read than NumPy.
        shape: of the array; an empty one for a label.
        channels: of an image, those to keep: a slice where it can be one, for that costs no copy.
        classes: of a multi-label feature, how many there are; 0 for other features.
    """

    name: str
    feature_name: str
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
        feature_name: str = "",
    ) -> "Decoder":
        """The decoder for a feature of a dataset, which there may go by another name."""
        raw = (
            type(feature) is tfds.features.Tensor
            and feature.to_json_content().encoding == tfds.features.Encoding.BYTES.value
        )
        contiguous = channels and list(channels) == list(range(channels[0], channels[-1] + 1))
        kept = slice(channels[0], channels[-1] + 1) if contiguous else list(channels) or slice(None)
        shape = tuple(feature.shape)
        return cls(name, feature_name or name, feature, raw, shape, kept, classes)

    def __call__(self, stored: Any) -> np.ndarray:
        """Decode a `tf.train.Feature`."""
        if self.name == "label":
            return np.array(stored.int64_list.value[0], np.int32)
        if self.classes:
            return self._multi_hot(stored)
        array = self._array(stored)
        if self.name == "mask":
            return array.reshape(array.shape[:2])
        return array[:, :, self.channels] if array.ndim == 3 else array

    def _array(self, stored: Any) -> np.ndarray:
        if self.raw:
            return np.frombuffer(stored.bytes_list.value[0], self.feature.np_dtype).reshape(
                self.shape
            )
        if stored.bytes_list.value:
            return np.asarray(self.feature.decode_example_np(stored.bytes_list.value[0]))
        return np.array(stored.int64_list.value, self.feature.np_dtype).reshape(self.shape)

    def _multi_hot(self, stored: Any) -> np.ndarray:
        if self.shape == (self.classes,):
            return self._array(stored).astype(np.uint8)
        multi_hot = np.zeros(self.classes, np.uint8)
        multi_hot[np.array(stored.int64_list.value, int)] = 1
        return multi_hot
