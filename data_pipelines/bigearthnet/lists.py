"""Split, snow and cloud flags and, in version 2, labels of patches, read from the official lists.

Version 1 has lists of patch names, version 2 two tables. The patches in no split are those with
seasonal snow, cloud or shadow, and the few without any of the 19 classes.
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
PATCH_FOLDERS = ("S2A_", "S2B_")  # prefixes of the folders of patches and of tiles
UNSPLIT = "unsplit"

# File names of the lists: the names on Zenodo, and the names that other tools use.
_FILES_V1 = {
    "train": ("train.csv", "bigearthnet-train.csv"),
    "validation": ("val.csv", "validation.csv", "bigearthnet-val.csv"),
    "test": ("test.csv", "bigearthnet-test.csv"),
    "snow": ("patches_with_seasonal_snow.csv",),
    "cloud": ("patches_with_cloud_and_shadow.csv",),
}
_METADATA_V2 = "metadata.parquet"
_FLAGGED_METADATA_V2 = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"


class PatchInfo(NamedTuple):
    """What the official lists say about a patch.

    Attributes:
        split: `train`, `validation`, `test` or `unsplit`.
        snow: Whether the patch has seasonal snow.
        cloud: Whether the patch has cloud or cloud shadow.
        labels: Names among the 19 classes; None if the labels are in the patch's own JSON file.
    """

    split: str = UNSPLIT
    snow: bool = False
    cloud: bool = False
    labels: tuple[str, ...] | None = None


def read_lists_v1(folder: Path, lists: Sequence[str]) -> dict[str, PatchInfo]:
    """Read the lists of version 1.

    Args:
        folder: The folder to search, two levels deep.
        lists: The lists to read, a subset of `LISTS`.

    Returns:
        The info of each listed patch, by its name.

    Raises:
        UserError: If a list is missing, or if a patch is in two splits.
    """
    infos: dict[str, PatchInfo] = {}
    interned: dict[PatchInfo, PatchInfo] = {}  # 500,000 patches share a few thousand values
    files = {
        kind: _find_file(
            folder, [f"{name}{suffix}" for name in _FILES_V1[kind] for suffix in (".gz", "")]
        )
        for kind in lists
    }
    missing = [kind for kind, file in files.items() if file is None]
    if missing:
        raise UserError(
            f"folder {folder}: lacks {', '.join(f'{_FILES_V1[kind][0]}.gz' for kind in missing)}; "
            "download them from zenodo.org/records/12687186, or do without: "
            + _options_without(missing, lists, "v1")
        )
    for kind, file in files.items():
        assert file is not None
        for name in _read_names(file):
            info = infos.get(name, PatchInfo())
            if kind in SPLITS and info.split != UNSPLIT:
                raise UserError(
                    f"file {file}: found patch {name}, which is also in split {info.split}; "
                    "expected each patch in one split"
                )
            change = {"split": kind} if kind in SPLITS else {kind: True}
            info = info._replace(**change)
            infos[name] = interned.setdefault(info, info)
    return infos


def read_lists_v2(folder: Path, lists: Sequence[str]) -> dict[str, PatchInfo]:
    """Read the tables of version 2; arguments and result are those of `read_lists_v1`.

    The table of patches with snow, cloud or shadow is required only for the lists `snow` and
    `cloud`.
    """
    tables = [(_METADATA_V2, "patches")]
    if set(lists) & set(FLAGS):
        tables.append((_FLAGGED_METADATA_V2, "patches with snow, cloud or shadow"))
    infos: dict[str, PatchInfo] = {}
    interned: dict[PatchInfo, PatchInfo] = {}  # 500,000 patches share a few thousand values
    for name, content in tables:
        file = _find_file(folder, [name])
        if file is None:
            alternative = (
                f", or do without: {_options_without(FLAGS, lists, 'v2')}"
                if name == _FLAGGED_METADATA_V2
                else ""
            )
            raise UserError(
                f"folder {folder}: lacks {name}, the table of {content}; download it from "
                f"zenodo.org/records/10891137{alternative}"
            )
        for patch, row in _read_rows(file):
            split = row.split if name == _METADATA_V2 and row.split in lists else UNSPLIT
            info = row._replace(split=split)
            infos[patch] = interned.setdefault(info, info)
    return infos


def _options_without(missing: Sequence[str], lists: Sequence[str], version: str) -> str:
    """Return the command-line options that build the dataset without the missing lists."""
    kept = ",".join(name for name in lists if name not in missing)
    return f"--config.lists={kept or ','} --config.name={version}/NAME"


def _find_file(folder: Path, names: Sequence[str], depth: int = 2) -> Path | None:
    """Find a file with one of these names, without searching the folders of patches."""
    try:
        with os.scandir(folder) as iterator:
            entries = sorted(iterator, key=lambda entry: entry.name)
    except PermissionError:
        return None
    files = {entry.name for entry in entries if entry.is_file()}
    for name in names:
        if name in files:
            return folder / name
    for entry in entries:
        if depth and entry.is_dir() and not entry.name.startswith(PATCH_FOLDERS):
            file = _find_file(folder / entry.name, names, depth - 1)
            if file is not None:
                return file
    return None


def _read_names(file: Path) -> Iterator[str]:
    """Yield the first column of a CSV file without a header."""
    open_text = gzip.open if file.suffix == ".gz" else open
    try:
        with open_text(file, "rt", newline="") as lines:
            for row in csv.reader(lines):
                if row:
                    yield sys.intern(row[0].strip())
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(
            f"file {file}: can't be read as a list of patches ({error}); download it again"
        ) from error


def _read_rows(file: Path) -> Iterator[tuple[str, PatchInfo]]:
    columns = [
        "patch_id", "split", "contains_seasonal_snow", "contains_cloud_or_shadow", "labels",
    ]  # fmt: skip
    try:
        table = pyarrow.parquet.read_table(file, columns=columns)
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise UserError(
            f"file {file}: can't be read as a table with the columns {', '.join(columns)} "
            f"({' '.join(str(error).split())}); download it again"
        ) from error
    for batch in table.to_batches(max_chunksize=4096):
        values = (batch.column(name).to_pylist() for name in columns)
        for patch, split, snow, cloud, labels in zip(*values, strict=True):
            yield patch, PatchInfo(split, bool(snow), bool(cloud), tuple(labels))


def count_patches(infos: Mapping[str, PatchInfo]) -> dict[str, int]:
    """Count the patches of each split, including `unsplit`."""
    counts = dict.fromkeys((*SPLITS, UNSPLIT), 0)
    for info in infos.values():
        counts[info.split] += 1
    return counts
