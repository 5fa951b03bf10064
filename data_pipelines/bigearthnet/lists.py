"""What is known of patches beside their pixels: split, snow, cloud and, in version 2, labels.

Version 1 has lists of names, version 2 two tables. Patches that are in no split are those with
seasonal snow, cloud or shadow, and the few without a label of the 19 classes.
"""

import csv
import gzip
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.parquet

from data_pipelines.errors import UserError

__all__ = [
    "FLAGS",
    "LISTS",
    "PATCH_FOLDERS",
    "SPLITS",
    "UNSPLIT",
    "PatchInfo",
    "count_patches",
    "read_lists_v1",
    "read_lists_v2",
]

SPLITS = ("train", "validation", "test")
FLAGS = ("snow", "cloud")
LISTS = (*SPLITS, *FLAGS)
PATCH_FOLDERS = ("S2A_", "S2B_")  # how the names of patches' folders begin, and of tiles'
UNSPLIT = "unsplit"

# The names that lists go by: those of the authors' record, and those other tools give them.
_FILES_V1 = {
    "train": ("train.csv", "bigearthnet-train.csv"),
    "validation": ("val.csv", "validation.csv", "bigearthnet-val.csv"),
    "test": ("test.csv", "bigearthnet-test.csv"),
    "snow": ("patches_with_seasonal_snow.csv",),
    "cloud": ("patches_with_cloud_and_shadow.csv",),
}
_METADATA_V2 = "metadata.parquet"
_FLAGGED_V2 = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"


class PatchInfo(NamedTuple):
    """What is known of a patch.

    Attributes:
        split: `train`, `validation`, `test` or `unsplit`.
        snow: whether it has seasonal snow.
        cloud: whether it has cloud or cloud shadow.
        labels: of the 19 classes; None where they stand in a file of the patch itself.
    """

    split: str = UNSPLIT
    snow: bool = False
    cloud: bool = False
    labels: tuple[str, ...] | None = None


def read_lists_v1(folder: Path, lists: Sequence[str]) -> dict[str, PatchInfo]:
    """{patch: what is known of it}, from the lists of version 1.

    Args:
        folder: where to look for them: in it, and two folders deep.
        lists: which of `LISTS` to read.

    Raises:
        UserError: one of them is missing, or a patch is in two splits.
    """
    known: dict[str, PatchInfo] = {}
    shared: dict[PatchInfo, PatchInfo] = {}  # half a million patches have a few thousand contents
    files = {
        kind: _find(folder, [f"{name}{end}" for name in _FILES_V1[kind] for end in (".gz", "")])
        for kind in lists
    }
    missing = [kind for kind, file in files.items() if file is None]
    if missing:
        raise UserError(
            f"folder {folder}: lacks {', '.join(f'{_FILES_V1[kind][0]}.gz' for kind in missing)}; "
            "get them from zenodo.org/records/12687186, or go without: "
            + _without(missing, lists, "v1")
        )
    for kind, file in files.items():
        assert file is not None
        for name in _names(file):
            before = known.get(name, PatchInfo())
            if kind in SPLITS and before.split != UNSPLIT:
                raise UserError(
                    f"file {file}: names patch {name}, which is in split {before.split} too; "
                    "expected each patch in one"
                )
            change = {"split": kind} if kind in SPLITS else {kind: True}
            changed = before._replace(**change)
            known[name] = shared.setdefault(changed, changed)
    return known


def read_lists_v2(folder: Path, lists: Sequence[str]) -> dict[str, PatchInfo]:
    """{patch: what is known of it}, from the tables of version 2; see `read_lists_v1`.

    The table of patches with snow, cloud or shadow is needed for those two lists alone.
    """
    tables = [(_METADATA_V2, "patches")]
    if set(lists) & set(FLAGS):
        tables.append((_FLAGGED_V2, "patches with snow, cloud or shadow"))
    known: dict[str, PatchInfo] = {}
    shared: dict[PatchInfo, PatchInfo] = {}  # half a million patches have a few thousand contents
    for name, what in tables:
        file = _find(folder, [name])
        if file is None:
            without = (
                f", or go without: {_without(FLAGS, lists, 'v2')}" if name == _FLAGGED_V2 else ""
            )
            raise UserError(
                f"folder {folder}: lacks {name}, the table of {what}; get it from "
                f"zenodo.org/records/10891137{without}"
            )
        for patch, row in _rows(file):
            split = row.split if name == _METADATA_V2 and row.split in lists else UNSPLIT
            changed = row._replace(split=split)
            known[patch] = shared.setdefault(changed, changed)
    return known


def _without(missing: Sequence[str], lists: Sequence[str], version: str) -> str:
    kept = ",".join(name for name in lists if name not in missing)
    return f"--config.lists={kept or ','} --config.name={version}/NAME"


def _find(folder: Path, names: Sequence[str], depth: int = 2) -> Path | None:
    """A file of one of these names, looked for beside and above the patches, not among them."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError:
        return None
    there = {entry.name for entry in entries if entry.is_file()}
    for name in names:
        if name in there:
            return folder / name
    for entry in entries:
        if depth and entry.is_dir() and not entry.name.startswith(PATCH_FOLDERS):
            deeper = _find(folder / entry.name, names, depth - 1)
            if deeper is not None:
                return deeper
    return None


def _names(file: Path) -> Iterator[str]:
    """The first column of a list without a header."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", newline="") as lines:
            for row in csv.reader(lines):
                if row:
                    yield sys.intern(row[0].strip())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"file {file}: isn't a list of patches ({error}); get it again") from error


def _rows(file: Path) -> Iterator[tuple[str, PatchInfo]]:
    columns = [
        "patch_id", "split", "contains_seasonal_snow", "contains_cloud_or_shadow", "labels",
    ]  # fmt: skip
    try:
        table = pyarrow.parquet.read_table(file, columns=columns)
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise UserError(
            f"file {file}: can't be read as a table with the columns {', '.join(columns)} "
            f"({' '.join(str(error).split())}); get it again"
        ) from error
    for batch in table.to_batches(max_chunksize=4096):
        values = (batch.column(name).to_pylist() for name in columns)
        for patch, split, snow, cloud, labels in zip(*values, strict=True):
            yield patch, PatchInfo(split, bool(snow), bool(cloud), tuple(labels))


def count_patches(known: Mapping[str, PatchInfo]) -> dict[str, int]:
    """How many patches each split should have."""
    numbers = dict.fromkeys((*SPLITS, UNSPLIT), 0)
    for one in known.values():
        numbers[one.split] += 1
    return numbers
