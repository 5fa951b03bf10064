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

from data_pipelines.bands.conversion import UNCHANGED, Conversion
from data_pipelines.errors import UserError
from data_pipelines.files.limits import allow_open_files

__all__ = [
    "BadRecord",
    "Decoder",
    "Record",
    "RecordSource",
    "Shards",
    "fingerprint",
]

Record = dict[str, np.ndarray]


class BadRecord(UserError):
    """Raised for an unreadable record: its bytes are corrupt, or don't match the description.

    Attributes:
        file: The shard that contains the record.
        index: Index of the record in the shard, from 0.
        reason: The error that the libraries raised.
        description: The message without advice on what to do.
        key: Key of the record; empty if it has none or it is unknown.
    """

    def __init__(self, file: str, index: int, reason: str, example: str = "", key: str = ""):
        """Make the message.

        Args:
            file: See the attributes.
            index: See the attributes.
            reason: See the attributes.
            example: Which example of the split the record is, for the message; empty if unknown.
            key: See the attributes.
        """
        self.description = f"file {file}, record {index}{example}: can't be read ({reason})"
        super().__init__(
            f"{self.description}; copy the file again, prepare the dataset again with --overwrite"
            + (", or skip the record with --config.data.on_error=skip" if example else "")
        )
        self.file = file
        self.index = index
        self.reason = reason
        self.key = key


class Shards:
    """All stored records of a split, in stored order. Picklable and thread-safe.

    ArrayRecord stores a hash of every block and detects corrupt blocks when it reads them.
    """

    def __init__(self, instructions: Sequence[Any]) -> None:
        """Open the shards of a split.

        Args:
            instructions: TFDS's file instructions; each covers a complete file.
        """
        self._instructions = list(instructions)
        self._files = [str(instruction.filename) for instruction in instructions]
        self._ends = np.cumsum([instruction.take for instruction in instructions])
        self._max_open = allow_open_files(len(self._files))
        # The source keeps each shard open that it has read from; the set holds their indices.
        self._opened: tuple[ArrayRecordDataSource, set[int]] = (
            ArrayRecordDataSource(instructions),
            set(),
        )

    def __len__(self) -> int:
        return len(self._opened[0])

    def read(self, row: int, decoders: "Sequence[Decoder]") -> Record:
        """Read features of the record stored at a position.

        Args:
            row: The stored position.
            decoders: One for each feature to read.

        Raises:
            BadRecord: If the record is unreadable.
            UserError: If its whole file is unreadable.
        """
        try:
            return decode(self._find_source(row)[row], decoders)
        except MemoryError:
            raise
        except Exception as error:  # the libraries raise many types for corrupt bytes
            raise self._make_error(row, error) from error

    def _find_source(self, row: int) -> ArrayRecordDataSource:
        """Return a source to read a record from, a new one if the last holds too many files open.

        The files of the last one are closed when no other thread reads from it any more.
        """
        source, shards = self._opened
        shard = self._find_shard(row)
        if shard not in shards:
            if len(shards) >= self._max_open:
                source, shards = self._opened = ArrayRecordDataSource(self._instructions), set()
            shards.add(shard)
        return source

    def _find_shard(self, row: int) -> int:
        return int(np.searchsorted(self._ends, row, side="right"))

    def _make_error(self, row: int, error: Exception) -> UserError:
        shard = self._find_shard(row)
        index = int(row) - int(self._ends[shard - 1] if shard else 0)
        try:
            ArrayRecordReader(self._files[shard]).close()
        except Exception as open_error:  # the index of a file's records is at its end
            return UserError(
                f"file {self._files[shard]}: none of its records can be read "
                f"({_shorten(open_error)}); copy it again, or prepare the dataset again with "
                "--overwrite"
            )
        return BadRecord(self._files[shard], index, f"{type(error).__name__}: {_shorten(error)}")


def _shorten(error: Exception) -> str:
    """Return the message of an error on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


@dataclass(frozen=True, eq=False)
class RecordSource:
    """Examples by position. Picklable and thread-safe.

    `source[i]` is a dict of `image` (h, w, c) uint8 or uint16, `index` () int32, the example's
    index in its full split, and, if the dataset has it, `label` () int32, `labels` (classes,)
    uint8 multi-hot, or `mask` (h, w) uint8. Arrays may be read-only. An unreadable example raises
    `BadRecord`, which names the file and the example.

    Attributes:
        shards: The stored records.
        decoders: One for each feature.
        order: (examples of the split,) int, stored position of each example.
        rows: (examples,) int, indices in the split of the examples of this source.
        keys: (examples of the split,) keys; stored positions if the examples have no keys.
    """

    shards: Shards
    decoders: "tuple[Decoder, ...]"
    order: np.ndarray
    rows: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Record:
        row = self.rows[position]
        try:
            record = self.shards.read(self.order[row], self.decoders)
        except BadRecord as bad:
            key = self.keys[row]
            name = key.decode(errors="replace") if isinstance(key, bytes) else ""
            example = f" (example {row} of its split{name and f', {name}'})"
            raise BadRecord(bad.file, bad.index, bad.reason, example, name) from bad.__cause__
        return {**record, "index": np.array(row, np.int32)}

    def example_ids(self) -> np.ndarray:
        """Return the (examples,) keys or stored positions, in the order of this source."""
        return self.keys[self.rows]


def fingerprint(example_ids: np.ndarray) -> str:
    """Compute a fingerprint of a set of examples, independent of their order."""
    return hashlib.sha256(np.sort(example_ids).tobytes()).hexdigest()[:16]


def decode(serialized: bytes, decoders: "Sequence[Decoder]") -> Record:
    """Decode the features of a serialized `tf.train.Example`."""
    features = tf_example_pb2.Example.FromString(serialized).features.feature
    return {decoder.name: decoder(features[decoder.feature_name]) for decoder in decoders}


@dataclass(frozen=True)
class Decoder:
    """Decodes one feature of a stored example to an array.

    Attributes:
        name: Name of the array in a record.
        feature_name: Name of the feature in the dataset.
        feature: TFDS's description of the feature.
        raw: Whether the feature is stored as the array's bytes, which NumPy reads faster than TFDS.
        shape: Shape of the array; empty for a label.
        channels: Channels of an image to keep: a slice if possible, as a slice makes no copy.
        num_classes: Number of classes of a multi-label feature; 0 for other features.
        conversion: Conversion of an image's numbers.
    """

    name: str
    feature_name: str
    feature: tfds.features.FeatureConnector
    raw: bool
    shape: tuple[int, ...]
    channels: slice | list[int]
    num_classes: int
    conversion: Conversion = UNCHANGED

    @classmethod
    def for_feature(
        cls,
        name: str,
        feature: tfds.features.FeatureConnector,
        channels: Sequence[int] = (),
        num_classes: int = 0,
        feature_name: str = "",
    ) -> "Decoder":
        """Make the decoder of a feature of a dataset.

        Args:
            name: Name of the array in a record.
            feature: TFDS's description of the feature.
            channels: Channels of an image to keep, in order; empty for all.
            num_classes: Number of classes of a multi-label feature; 0 for other features.
            feature_name: Name of the feature in the dataset; empty if it is `name`.
        """
        raw = (
            type(feature) is tfds.features.Tensor
            and feature.to_json_content().encoding == tfds.features.Encoding.BYTES.value
        )
        contiguous = channels and list(channels) == list(range(channels[0], channels[-1] + 1))
        kept = slice(channels[0], channels[-1] + 1) if contiguous else list(channels) or slice(None)
        shape = tuple(feature.shape)
        return cls(name, feature_name or name, feature, raw, shape, kept, num_classes)

    def __call__(self, stored: Any) -> np.ndarray:
        """Decode a `tf.train.Feature`."""
        if self.name == "label":
            return np.array(stored.int64_list.value[0], np.int32)
        if self.num_classes:
            return self._decode_multi_hot(stored)
        array = self._decode_array(stored)
        if self.name == "mask":
            return array.reshape(array.shape[:2])
        return self.conversion(array[:, :, self.channels]) if array.ndim == 3 else array

    def _decode_array(self, stored: Any) -> np.ndarray:
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

    def _decode_multi_hot(self, stored: Any) -> np.ndarray:
        if self.shape == (self.num_classes,):
            return self._decode_array(stored).astype(np.uint8)
        multi_hot = np.zeros(self.num_classes, np.uint8)
        multi_hot[np.array(stored.int64_list.value, int)] = 1
        return multi_hot
