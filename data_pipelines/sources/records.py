"""Examples of a prepared dataset by position, decoded from their stored bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordReader
from tensorflow_datasets.proto import tf_example_pb2

from data_pipelines.errors import UserError

__all__ = ["BadRecord", "Decoder", "Record", "RecordSource", "Shards", "fingerprint"]

Record = dict[str, np.ndarray]


class BadRecord(UserError):
    """A stored record that can't be read: its bytes are damaged, or aren't what was described.

    Attributes:
        file: the shard it is in.
        number: its place in the shard, from 0.
        reason: what the libraries made of it.
        found: all of that in words, without what to do.
        key: its name; empty where it has none, or nobody knows it.
    """

    def __init__(self, file: str, number: int, reason: str, example: str = "", key: str = ""):
        self.found = f"file {file}, record {number}{example}: can't be read ({reason})"
        super().__init__(
            f"{self.found}; copy the file again, or prepare the dataset again with --overwrite"
            + ("; --config.data.on_error=skip goes on without it" if example else "")
        )
        self.file = file
        self.number = number
        self.reason = reason
        self.key = key


class Shards:
    """All stored records of a split, in the order stored. Can be pickled, and read from threads.

    ArrayRecord keeps a hash of every block and tells a damaged one when it reads it.

    Args:
        instructions: TFDS's, of whole files.
    """

    def __init__(self, instructions: Sequence[Any]) -> None:
        self._stored = ArrayRecordDataSource(instructions)
        self._files = [str(instruction.filename) for instruction in instructions]
        self._ends = np.cumsum([instruction.take for instruction in instructions])

    def __len__(self) -> int:
        return len(self._stored)

    def read(self, row: int, decoders: "Sequence[Decoder]") -> Record:
        """The features of the record stored at `row`.

        Raises:
            BadRecord: it can't be read.
            UserError: its whole file can't be.
        """
        try:
            return decode(self._stored[row], decoders)
        except MemoryError:
            raise
        except Exception as error:  # whatever the libraries make of damaged bytes
            raise self._mistake(row, error) from error

    def _mistake(self, row: int, error: Exception) -> UserError:
        shard = int(np.searchsorted(self._ends, row, side="right"))
        number = int(row) - int(self._ends[shard - 1] if shard else 0)
        try:
            ArrayRecordReader(self._files[shard]).close()
        except Exception as unopened:  # the end of a file says where its records are
            return UserError(
                f"file {self._files[shard]}: none of its records can be read "
                f"({_told(unopened)}); copy it again, or prepare the dataset again with --overwrite"
            )
        return BadRecord(self._files[shard], number, f"{type(error).__name__}: {_told(error)}")


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


@dataclass(frozen=True, eq=False)
class RecordSource:
    """Examples by position. Can be pickled and read from many threads at once.

    One that can't be read raises `BadRecord`, which names the file and the example.

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

    files: Shards
    decoders: "tuple[Decoder, ...]"
    order: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        row = self.rows[position]
        try:
            record = self.files.read(self.order[row], self.decoders)
        except BadRecord as bad:
            key = self.keys[row]
            name = key.decode(errors="replace") if isinstance(key, bytes) else ""
            example = f" (example {row} of its split{name and f', {name}'})"
            raise BadRecord(bad.file, bad.number, bad.reason, example, name) from bad.__cause__
        return {**record, "index": np.array(row, np.int32)}

    def example_ids(self) -> np.ndarray:
        """(examples,) names or stored positions, in the order of this source."""
        return self.keys[self.rows]


def fingerprint(example_ids: np.ndarray) -> str:
    """A fingerprint of which examples a source holds, whatever their order."""
    return hashlib.sha256(np.sort(example_ids).tobytes()).hexdigest()[:16]


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
    def for_feature(
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
            array = np.asarray(self.feature.decode_example_np(stored.bytes_list.value[0]))
            if None not in self.shape and array.shape != self.shape:
                raise ValueError(f"found shape {array.shape}, expected {self.shape}")
            return array
        return np.array(stored.int64_list.value, self.feature.np_dtype).reshape(self.shape)

    def _multi_hot(self, stored: Any) -> np.ndarray:
        if self.shape == (self.classes,):
            return self._array(stored).astype(np.uint8)
        multi_hot = np.zeros(self.classes, np.uint8)
        multi_hot[np.array(stored.int64_list.value, int)] = 1
        return multi_hot
