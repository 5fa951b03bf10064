"""What is done about records that can't be read: the run stops at one, or goes on without them.

In training a bad example gives way to the next good one of its source. That depends on nothing but
its place: a run that goes on after an interruption, or in other processes, sees the same batches.
In evaluation a bad example doesn't count.
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
    """The records met that can't be read, each once. Can be added to from threads.

    Attributes:
        skip: whether one is passed over, rather than the end of the run.
    """

    def __init__(self, on_error: str = "stop") -> None:
        """None so far.

        Args:
            on_error: `stop` or `skip`.

        Raises:
            UserError: neither of them.
        """
        if on_error not in ("stop", "skip"):
            raise UserError(f"config.data.on_error: found {on_error!r}; expected stop or skip")
        self.skip = on_error == "skip"
        self._entries: dict[tuple[str, int], Entry] = {}
        self._lock = threading.Lock()
        self._file: Path | None = None

    def add(self, bad: BadRecord) -> None:
        """Count a record, and tell of it, the first time it is met."""
        entry = {"file": bad.file, "index": bad.number, "key": bad.key}
        with self._lock:
            if _identity(entry) in self._entries:
                return
            self._entries[_identity(entry)] = entry
            self._save()
        print(f"warning: {bad.found}; going on without it", file=sys.stderr)

    @property
    def found(self) -> list[Entry]:
        """`file`, `index` in the file and `key` of each, in the order of files and indices."""
        with self._lock:
            return [self._entries[identity] for identity in sorted(self._entries)]

    def merge(self, entries: Iterable[Entry]) -> None:
        """Count what other processes have met."""
        with self._lock:
            for entry in entries:
                self._entries.setdefault(_identity(entry), entry)

    def persist_in(self, folder: Path, process: int) -> None:
        """Remember them in a folder, and take up what earlier processes wrote there.

        Args:
            folder: made when there is anything to write.
            process: which process of the job this is.
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
        # It has come to the disk before any bundle that is saved after the record was met.
        write_json(self._file, list(self._entries.values()))


def _identity(entry: Entry) -> tuple[str, int]:
    # Not by the folder: a run may go on where the dataset lies elsewhere.
    return Path(entry["file"]).name, entry["index"]


class _Placed(Protocol):
    """A `Source` or `Windows`."""

    @property
    def rows(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Record: ...

    def example_ids(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class SkippingSource:
    """A source of which bad examples are passed over.

    `source[i]` is example i, or in place of a bad one the next good one, the first coming after the
    last. It then has the `index` of the bad one, and is augmented otherwise than in its own place.

    Attributes:
        source: the examples.
        bad: where bad ones are counted.
    """

    source: _Placed
    bad: BadRecords

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int) -> Record:
        for further in range(len(self)):
            record = self.read_or_none((position + further) % len(self))
            if record is not None:
                return {**record, "index": np.array(self.source.rows[position], np.int32)}
        raise UserError(
            f"none of {len(self)} examples can be read, the first for this reason: "
            f"{self.bad.found[0]['file']} is damaged; expected some that can: prepare the dataset "
            "again with --overwrite"
        )

    def read_or_none(self, position: int) -> Record | None:
        """The example itself; None if it is bad."""
        try:
            return self.source[position]
        except BadRecord as bad:
            self.bad.add(bad)
            return None

    def example_ids(self) -> np.ndarray:
        """(examples,) names or stored positions, of the bad ones too."""
        return self.source.example_ids()


@dataclass(frozen=True, eq=False)
class BlankingSource:
    """Parts of pictures, of which a bad one is like what lies beyond the edge of a picture.

    Its image is 0 and its labels are of no class, so that its pixels don't count.

    Attributes:
        parts: what is skipped over otherwise.
        ignore_label: the label of no class.
    """

    parts: SkippingSource
    ignore_label: int

    @property
    def rows(self) -> np.ndarray:
        """(parts,) int, their numbers in their whole split."""
        return self.parts.source.rows

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, position: int) -> Record:
        record = self.parts.read_or_none(position)
        if record is not None:
            return record
        like = self.parts[position]
        return {
            "image": np.zeros_like(like["image"]),
            "mask": np.full_like(like["mask"], self.ignore_label),
            "index": like["index"],
        }
