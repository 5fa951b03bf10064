"""The files of a split: records in shards, and their catalogue.

Shards get their final names, `NAME-SPLIT.array_record-00003-of-00256`, when all are written.
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
from data_pipelines.sources.catalogue import Catalogue, CatalogueWriter

__all__ = ["SHARD_BYTES", "SplitWriter", "WrittenSplit", "assemble"]

# Bytes of a shard: few enough files to keep all of them open.
SHARD_BYTES = 256 * 2**20
# Without compression: pixels gain a sixth by it, and read half as fast. One record a group, so that
# reading one doesn't read its neighbours.
_OPTIONS = "group_size:1,uncompressed"


@dataclass(frozen=True)
class WrittenSplit:
    """Records of a split as they lie in files.

    Attributes:
        split: its name.
        shards: the files, in order.
        lengths: how many records each holds.
        bytes: of all records.
        catalogue: of all records, in order.
        moments: of their images; of none where they are encoded files.
    """

    split: str
    shards: tuple[Path, ...]
    lengths: tuple[int, ...]
    bytes: int
    catalogue: Catalogue
    moments: Moments

    def save(self, folder: Path) -> None:
        """Write down what is known of the files, for another process."""
        self.catalogue.save(Catalogue.file(folder, self.split))
        about = {
            "split": self.split,
            "shards": [shard.name for shard in self.shards],
            "lengths": self.lengths,
            "bytes": self.bytes,
            "pixels": self.moments.pixels,
            "total": self.moments.total.tolist(),
            "squares": self.moments.squares.tolist(),
        }
        (folder / "written.json").write_text(json.dumps(about))

    @classmethod
    def load(cls, folder: Path) -> "WrittenSplit":
        """What `save` wrote down."""
        about = json.loads((folder / "written.json").read_text())
        return cls(
            about["split"],
            tuple(folder / shard for shard in about["shards"]),
            tuple(about["lengths"]),
            about["bytes"],
            Catalogue.load(Catalogue.file(folder, about["split"])),
            Moments(about["pixels"], np.array(about["total"]), np.array(about["squares"])),
        )


class SplitWriter:
    """Writes records of a split into shards, and gathers their catalogue and moments."""

    def __init__(self, folder: Path, split: str, columns: Iterable[str]) -> None:
        self._folder, self._split = folder, split
        self._shards: list[Path] = []
        self._lengths: list[int] = []
        self._writer: Any = None
        self._shard_bytes = 0
        self._keys: set[int | bytes] = set()
        self._catalogue = CatalogueWriter(columns)
        self._moments = Moments()
        self.bytes = 0

    @property
    def examples(self) -> int:
        """How many were written."""
        return sum(self._lengths)

    def duplicate(self, records: Iterable[StoredRecord]) -> str:
        """What to say if one of the records is there already."""
        for record in records:
            if record.key in self._keys:
                key = record.key.decode() if isinstance(record.key, bytes) else record.key
                return (
                    f"example {key}: is there twice in split {self._split}; expected each name once"
                )
        return ""

    def write(self, record: StoredRecord) -> None:
        """Write a record, in a new shard where the last one is full.

        Raises:
            UserError: its key is there already.
        """
        if twice := self.duplicate((record,)):
            raise UserError(twice)
        if self._writer is None or self._shard_bytes > SHARD_BYTES:
            self._close()
            self._shards.append(self._folder / f"{self._split}-{len(self._shards):05}")
            self._writer = ArrayRecordWriter(os.fspath(self._shards[-1]), _OPTIONS)
            self._lengths.append(0)
            self._shard_bytes = 0
        self._writer.write(record.serialized)
        self._lengths[-1] += 1
        self._shard_bytes += len(record.serialized)
        self.bytes += len(record.serialized)
        self._keys.add(record.key)
        self._catalogue.append(record.key, record.columns)
        if record.moments is not None:
            self._moments += record.moments

    def finish(self) -> WrittenSplit | None:
        """Close the last shard; None if there was no record."""
        self._close()
        if not self._shards:
            return None
        return WrittenSplit(
            self._split,
            tuple(self._shards),
            tuple(self._lengths),
            self.bytes,
            self._catalogue.catalogue(),
            self._moments,
        )

    def abandon(self) -> None:
        """Let go of what is open, whatever state it is in."""
        with contextlib.suppress(RuntimeError):
            self._close()

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def assemble(
    dataset_name: str, folder: Path, parts: Sequence[WrittenSplit]
) -> tuple[tfds.core.SplitInfo, Moments]:
    """Make one split of what was written in parts: name its shards, write its catalogue.

    Args:
        dataset_name: TFDS's name of the builder.
        folder: of the dataset.
        parts: of the same split, at least one.
    """
    split = parts[0].split
    template = tfds.core.ShardedFileTemplate(
        dataset_name=dataset_name, data_dir=folder, filetype_suffix="array_record", split=split
    )
    shards = [shard for part in parts for shard in part.shards]
    for number, shard in enumerate(shards):
        shard.rename(template.sharded_filepath(shard_index=number, num_shards=len(shards)))
    catalogue = Catalogue.joined([part.catalogue for part in parts])
    catalogue.save(Catalogue.file(folder, split))
    info = tfds.core.SplitInfo(
        name=split,
        shard_lengths=[length for part in parts for length in part.lengths],
        num_bytes=sum(part.bytes for part in parts),
        filename_template=template,
    )
    return info, sum((part.moments for part in parts), Moments())
