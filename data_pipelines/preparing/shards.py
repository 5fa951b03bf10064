"""Writing of a split's files: records in shards, and their catalogue.

Shards are renamed to their final names, `NAME-SPLIT.array_record-00003-of-00256`, when all are
written.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from data_pipelines.errors import UserError
from data_pipelines.preparing.encoding import Moments, StoredRecord
from data_pipelines.profiles.counts import SplitCounts
from data_pipelines.sources.catalogue import Catalogue, CatalogueWriter

__all__ = ["SHARD_BYTES", "SplitWriter", "WrittenSplit", "assemble_split"]

# Size of a shard, large enough that all shards of a dataset can be kept open.
SHARD_BYTES = 256 * 2**20
# No compression: it makes pixels a sixth smaller, but halves the reading speed. One record per
# group, so that reading a record does not read its neighbours.
_OPTIONS = "group_size:1,uncompressed"
_COUNTS = "counts.npz"


@dataclass(frozen=True)
class WrittenSplit:
    """The written shards of a split, or of a part of it.

    Attributes:
        split: Name of the split.
        shards: The shard files, in order.
        lengths: Number of records in each shard.
        bytes: Total size of the records.
        catalogue: Catalogue of all records, in order.
        moments: Moments of their images; without pixels if the images are encoded files.
        counts: Counts of their images for the data profile; without pixels like `moments`.
    """

    split: str
    shards: tuple[Path, ...]
    lengths: tuple[int, ...]
    bytes: int
    catalogue: Catalogue
    moments: Moments
    counts: SplitCounts

    def save(self, folder: Path) -> None:
        """Save the description of the shards to `folder`, for another process."""
        self.catalogue.save(Catalogue.file(folder, self.split))
        description = {
            "split": self.split,
            "shards": [shard.name for shard in self.shards],
            "lengths": self.lengths,
            "bytes": self.bytes,
            "pixels": self.moments.pixels,
            "total": self.moments.total.tolist(),
            "squares": self.moments.squares.tolist(),
        }
        (folder / "written.json").write_text(json.dumps(description))
        np.savez_compressed(folder / _COUNTS, **self.counts.to_arrays())

    @classmethod
    def load(cls, folder: Path) -> "WrittenSplit":
        """Load the description that `save` wrote to `folder`."""
        description = json.loads((folder / "written.json").read_text())
        return cls(
            description["split"],
            tuple(folder / shard for shard in description["shards"]),
            tuple(description["lengths"]),
            description["bytes"],
            Catalogue.load(Catalogue.file(folder, description["split"])),
            Moments(
                description["pixels"],
                np.array(description["total"]),
                np.array(description["squares"]),
            ),
            _load_counts(folder / _COUNTS),
        )


class SplitWriter:
    """A writer of a split's records into shards, with their catalogue and moments.

    Args:
        folder: Folder of the shards.
        split: Name of the split.
        columns: Names of the small features, for the catalogue.
    """

    def __init__(self, folder: Path, split: str, columns: Iterable[str]) -> None:
        self._folder, self._split = folder, split
        self._shards: list[Path] = []
        self._lengths: list[int] = []
        self._writer: Any = None
        self._shard_bytes = 0
        self._keys: set[int | bytes] = set()
        self._catalogue = CatalogueWriter(columns)
        self._moments = Moments()
        self._counts = SplitCounts()
        self.num_bytes = 0

    @property
    def num_examples(self) -> int:
        """The number of records written."""
        return sum(self._lengths)

    def find_duplicate(self, records: Iterable[StoredRecord]) -> str:
        """Return an error message if the key of a record was written before, else empty."""
        for record in records:
            if record.key in self._keys:
                key = record.key.decode() if isinstance(record.key, bytes) else record.key
                return f"example {key}: found twice in split {self._split}; expected each key once"
        return ""

    def write(self, record: StoredRecord) -> None:
        """Write a record, to a new shard if the last one is full.

        Raises:
            UserError: If a record with its key was written before.
        """
        if error_message := self.find_duplicate((record,)):
            raise UserError(error_message)
        if self._writer is None or self._shard_bytes > SHARD_BYTES:
            self._close()
            self._shards.append(self._folder / f"{self._split}-{len(self._shards):05}")
            self._writer = ArrayRecordWriter(os.fspath(self._shards[-1]), _OPTIONS)
            self._lengths.append(0)
            self._shard_bytes = 0
        self._writer.write(record.serialized)
        self._lengths[-1] += 1
        self._shard_bytes += len(record.serialized)
        self.num_bytes += len(record.serialized)
        self._keys.add(record.key)
        self._catalogue.append(record.key, record.columns)
        if record.moments is not None:
            self._moments += record.moments
        if record.counts is not None:
            self._counts.add(record.counts)

    def finish(self) -> WrittenSplit | None:
        """Close the last shard and return the written split, or None if it has no records."""
        self._close()
        if not self._shards:
            return None
        return WrittenSplit(
            self._split,
            tuple(self._shards),
            tuple(self._lengths),
            self.num_bytes,
            self._catalogue.make_catalogue(),
            self._moments,
            self._counts,
        )

    def abort(self) -> None:
        """Close the open shard, ignoring errors."""
        with contextlib.suppress(RuntimeError):
            self._close()

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def assemble_split(
    dataset_name: str, folder: Path, parts: Sequence[WrittenSplit]
) -> tuple[tfds.core.SplitInfo, Moments, SplitCounts]:
    """Merge the parts of a split: rename their shards and write the common catalogue.

    Args:
        dataset_name: TFDS's name of the builder.
        folder: Folder of the dataset.
        parts: At least one part, all of the same split.

    Returns:
        TFDS's description of the split, and the moments and the counts of its images.
    """
    split = parts[0].split
    template = tfds.core.ShardedFileTemplate(
        dataset_name=dataset_name, data_dir=folder, filetype_suffix="array_record", split=split
    )
    shards = [shard for part in parts for shard in part.shards]
    for number, shard in enumerate(shards):
        shard.rename(template.sharded_filepath(shard_index=number, num_shards=len(shards)))
    catalogue = Catalogue.concatenate([part.catalogue for part in parts])
    catalogue.save(Catalogue.file(folder, split))
    info = tfds.core.SplitInfo(
        name=split,
        shard_lengths=[length for part in parts for length in part.lengths],
        num_bytes=sum(part.bytes for part in parts),
        filename_template=template,
    )
    counts = SplitCounts()
    for part in parts:
        counts.merge(part.counts)
    return info, sum((part.moments for part in parts), Moments()), counts


def _load_counts(file: Path) -> SplitCounts:
    with np.load(file, allow_pickle=False) as arrays:
        return SplitCounts.from_arrays(arrays)
