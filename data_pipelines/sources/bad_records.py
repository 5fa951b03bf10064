"""Handling of unreadable records: the run stops at the first one, or skips them.

In training, a skipped example is replaced by the next readable one of its source. The replacement
depends on nothing but the position, so that a resumed run, or a run on another number of processes,
sees the same batches. In evaluation, a skipped example is ignored.
"""

import json
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_json
from data_pipelines.sources.records import BadRecord, Record

__all__ = ["BadRecords", "BlankingSource", "SkippingSource"]

Entry = dict[str, Any]  # JSON: file, index, key


class BadRecords:
    """The unreadable records found so far, each listed once. Thread-safe.

    Attributes:
        skip: Whether unreadable records are skipped; if not, the run stops at the first one.
    """

    def __init__(self, on_error: str = "stop") -> None:
        """Create an empty list.

        Args:
            on_error: `stop` or `skip`.

        Raises:
            UserError: If `on_error` is neither of them.
        """
        if on_error not in ("stop", "skip"):
            raise UserError(f"config.data.on_error: found {on_error!r}; expected stop or skip")
        self.skip = on_error == "skip"
        self._entries: dict[tuple[str, int], Entry] = {}
        self._lock = threading.Lock()
        self._file: Path | None = None

    def add(self, bad: BadRecord) -> None:
        """Add a record, with a warning on stderr, unless it is listed already."""
        entry = {"file": bad.file, "index": bad.index, "key": bad.key}
        with self._lock:
            if _identity(entry) in self._entries:
                return
            self._entries[_identity(entry)] = entry
            self._save()
        print(f"warning: {bad.description}; skipping it", file=sys.stderr)

    @property
    def entries(self) -> list[Entry]:
        """`file`, `index` in the file and `key` of each record, sorted by file and index."""
        with self._lock:
            return [self._entries[identity] for identity in sorted(self._entries)]

    def merge(self, entries: Iterable[Entry]) -> None:
        """Add records that other processes have found."""
        with self._lock:
            for entry in entries:
                self._entries.setdefault(_identity(entry), entry)

    def persist_in(self, folder: Path, process: int) -> None:
        """Save the list in a folder from now on, and load what earlier processes saved there.

        Args:
            folder: The folder; created once there is a record to save.
            process: Index of this process in the job.
        """
        for file in sorted(folder.glob("*.json")):
            self.merge(json.loads(file.read_text()))
        with self._lock:
            self._file = folder / f"{process}.json"
            self._save()

    def _save(self) -> None:
        if self._file is None or not self._entries:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Written at once, so that it precedes any checkpoint saved after the record was found.
        write_json(self._file, list(self._entries.values()))


def _identity(entry: Entry) -> tuple[str, int]:
    # Without the folder: when a run is resumed, the dataset may have been moved.
    return Path(entry["file"]).name, entry["index"]


class _Source(Protocol):
    """A `RecordSource` or `Windows`."""

    @property
    def rows(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Record: ...

    def example_ids(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class SkippingSource:
    """A source that replaces each unreadable example by the next readable one.

    After the last example, the search continues at the first. The replacement has the `index` of
    the example it replaces, and so is augmented differently from the same example in its own place.

    Attributes:
        source: The examples.
        bad_records: The list that unreadable examples are added to.
    """

    source: _Source
    bad_records: BadRecords

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int) -> Record:
        for offset in range(len(self)):
            record = self.read_or_none((position + offset) % len(self))
            if record is not None:
                return {**record, "index": np.array(self.source.rows[position], np.int32)}
        raise UserError(
            f"none of {len(self)} examples can be read: found corrupt records, the first in file "
            f"{self.bad_records.entries[0]['file']}; expected at least one valid record; prepare "
            "the dataset again with --overwrite"
        )

    def read_or_none(self, position: int) -> Record | None:
        """Read the example at a position; if it is unreadable, list its record and return None."""
        try:
            return self.source[position]
        except BadRecord as bad:
            self.bad_records.add(bad)
            return None

    def example_ids(self) -> np.ndarray:
        """Return the (examples,) keys or stored positions, unreadable examples included."""
        return self.source.example_ids()


@dataclass(frozen=True, eq=False)
class BlankingSource:
    """Blocks of images; an unreadable block is read as if it were outside its image.

    Its image is 0 and its mask is `ignore_label`, so that its pixels don't count.

    Attributes:
        blocks: The blocks.
        ignore_label: Label of unlabelled pixels.
    """

    blocks: SkippingSource
    ignore_label: int

    @property
    def rows(self) -> np.ndarray:
        """(blocks,) int, indices of the blocks in their full split."""
        return self.blocks.source.rows

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, position: int) -> Record:
        record = self.blocks.read_or_none(position)
        if record is not None:
            return record
        replacement = self.blocks[position]
        return {
            "image": np.zeros_like(replacement["image"]),
            "mask": np.full_like(replacement["mask"], self.ignore_label),
            "index": replacement["index"],
        }
