"""Patches of BigEarthNet: where they lie, in folders or in an archive, and how one is read."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rasterio.enums import Resampling

from data_pipelines.bigearthnet.lists import PatchInfo
from data_pipelines.bigearthnet.nomenclature import CLASSES_19, CLASSES_43, MERGED
from data_pipelines.errors import UserError
from data_pipelines.files.archives import read_tar_members
from data_pipelines.files.rasters import check_raster, gdal_environment, open_raster
from data_pipelines.reading import Example

__all__ = ["ArchivePatches", "FolderPatches", "Patch", "PatchReader"]

SIZE = 120  # pixels of a patch at 10 m
_NATIVE_SIZE = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 120),  # 10 m
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 60),  # 20 m
    **dict.fromkeys(("B01", "B09"), 20),  # 60 m
}
# Version 1 has times of five digits, from which a zero was lost; version 2 names baseline, orbit
# and tile too.
_NAMES = {
    1: re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{5,6}_\d{1,2}_\d{1,2}"),
    2: re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\w{5}_\d{1,2}_\d{1,2}"),
}
# Of patches in no list. Their labels are in files of their own in version 1, nowhere in version 2.
_UNLISTED = {1: PatchInfo(), 2: PatchInfo(labels=())}
_LABELS = "labels_metadata.json"
# Patches of an archive that may be begun before one is complete. Archives hold the files of a
# patch one after the other; only one packed in another way comes near this.
_MOST_BEGUN = 4096


class Patch(NamedTuple):
    """A patch that is still to be read.

    Attributes:
        name: its own.
        known: what the lists say of it.
        folder: where its files lie; empty if they are in `contents`.
        contents: {ending of the file's name: bytes}, where they came out of an archive.
    """

    name: str
    known: PatchInfo
    folder: str
    contents: Mapping[str, bytes]

    @property
    def split(self) -> str:
        """The split it belongs to."""
        return self.known.split

    def file(self, ending: str) -> Path:
        """The path of one of its files; in an archive, its name there."""
        return Path(self.folder or self.name, f"{self.name}_{ending}")


@dataclass(frozen=True)
class FolderPatches:
    """The patches below a folder, at any depth, in the order of their names.

    Attributes:
        folder: where to look.
        version: of the dataset, 1 or 2: patches of the other one are left alone.
        known: {patch: what the lists say}.
    """

    folder: Path
    version: int
    known: Mapping[str, PatchInfo] = field(repr=False)

    def __iter__(self) -> Iterator[Patch]:
        for path in self._paths():
            name = os.path.basename(path)
            yield Patch(name, self.known.get(name, _UNLISTED[self.version]), path, {})

    def names(self) -> Iterator[str]:
        """Their names, which takes no more than listing folders."""
        return map(os.path.basename, self._paths())

    def _paths(self) -> Iterator[str]:
        folder = os.fspath(self.folder)
        return self._below(folder, {os.path.realpath(folder)})

    def _below(self, folder: str, linked: set[str]) -> Iterator[str]:
        """Paths of patches; each of the `linked` folders is looked into once."""
        try:
            with os.scandir(folder) as entries:
                folders = sorted((e.name, e.is_symlink()) for e in entries if e.is_dir())
        except PermissionError:  # a disk's lost+found, say
            return
        for name, is_link in folders:
            path = os.path.join(folder, name)
            if _NAMES[self.version].fullmatch(name):
                yield path
            elif not is_link or os.path.realpath(path) not in linked:
                if is_link:
                    linked.add(os.path.realpath(path))
                yield from self._below(path, linked)


@dataclass(frozen=True)
class ArchivePatches:
    """The patches in a tar archive, each as soon as its files are complete.

    The files of a patch may come in any order.

    Attributes:
        parts: the archive's files.
        version: of the dataset, 1 or 2.
        known: {patch: what the lists say}.
        endings: of the files wanted of each patch, such as `B04.tif`.
    """

    parts: tuple[Path, ...]
    version: int
    known: Mapping[str, PatchInfo] = field(repr=False)
    endings: tuple[str, ...]

    def __iter__(self) -> Iterator[Patch]:
        begun: dict[str, dict[str, bytes]] = {}
        for member, content in read_tar_members(self.parts, self._wanted):
            patch, ending = _taken_apart(member)
            files = begun.setdefault(patch, {})
            files[ending] = content
            if len(files) == len(self.endings):
                yield self._patch(patch, begun.pop(patch))
            elif len(begun) > _MOST_BEGUN:
                raise UserError(
                    f"archive {self.parts[0]}: holds files of more than {_MOST_BEGUN} patches "
                    "before any of these is complete; unpack it, and name the folder"
                )
        for patch, files in begun.items():  # what they lack is told when they are read
            yield self._patch(patch, files)

    def _wanted(self, member: str) -> bool:
        patch, ending = _taken_apart(member)
        return ending in self.endings and _NAMES[self.version].fullmatch(patch) is not None

    def _patch(self, name: str, files: dict[str, bytes]) -> Patch:
        return Patch(name, self.known.get(name, _UNLISTED[self.version]), "", files)


def _taken_apart(member: str) -> tuple[str, str]:
    """`…/PATCH/PATCH_B04.tif` -> `PATCH`, `B04.tif`."""
    folder, _, file = member.rpartition("/")
    patch = folder.rpartition("/")[2]
    return patch, file.removeprefix(f"{patch}_")


@dataclass(frozen=True)
class PatchReader:
    """A patch -> its example.

    Attributes:
        bands: names in the files' names, such as `B04`, in the order of the image's bands.
        resampling: how 20 m and 60 m become 10 m: rasterio's `nearest`, `bilinear` or `cubic`.
        flags: those of `snow` and `cloud` that the lists told.
    """

    bands: tuple[str, ...]
    resampling: str
    flags: tuple[str, ...]

    def endings(self, labels_in_file: bool) -> tuple[str, ...]:
        """Of the files that a patch is read from."""
        return tuple(f"{band}.tif" for band in self.bands) + (_LABELS,) * labels_in_file

    def __call__(self, patch: Patch) -> Iterator[tuple[str, Example]]:
        """Read a patch.

        Yields:
            Its name, and `image` (120, 120, bands) uint16 digital numbers, `id`, `labels` of the 19
            classes, in version 1 `labels_43`, and its flags.

        Raises:
            UserError: a file is missing, can't be read or isn't what it should be.
        """
        with gdal_environment():
            bands = [self._band(patch, band) for band in self.bands]
        example: Example = {"image": np.stack(bands, axis=-1), "id": patch.name}
        if patch.known.labels is None:
            labels = _labels(patch)
            example["labels_43"] = _numbers(labels, CLASSES_43, patch)
            merged = {MERGED[label] for label in labels if label in MERGED}
            example["labels"] = _numbers(sorted(merged), CLASSES_19, patch)
        else:
            example["labels"] = _numbers(patch.known.labels, CLASSES_19, patch)
        for flag in self.flags:
            example[flag] = getattr(patch.known, flag)
        yield patch.name, example

    def _band(self, patch: Patch, band: str) -> np.ndarray:
        file, content = _file(patch, f"{band}.tif")
        size = _NATIVE_SIZE[band]
        with open_raster(file, content) as raster:
            check_raster(file, raster, bands=1, dtype="uint16", size=(size, size))
            if size == SIZE:
                return raster.read(1)
            return raster.read(1, out_shape=(SIZE, SIZE), resampling=Resampling[self.resampling])


def _file(patch: Patch, ending: str) -> tuple[Path, bytes | None]:
    """The path of a patch's file, and its bytes where they have been read."""
    file = patch.file(ending)
    missing = ending not in patch.contents if patch.contents else not file.is_file()
    if missing:
        there = sorted(patch.contents) if patch.contents else sorted(os.listdir(patch.folder))
        raise UserError(
            f"patch {patch.name}: lacks {file.name}; expected it beside its {len(there)} other "
            f"files in {patch.folder or 'the archive'}"
        )
    return file, patch.contents.get(ending)


def _labels(patch: Patch) -> list[str]:
    """The labels in a patch's own file."""
    file, content = _file(patch, _LABELS)
    try:
        labels = json.loads(file.read_bytes() if content is None else content)["labels"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"file {file}: has no labels ({type(error).__name__}: {error}); expected JSON with "
            "a list `labels`"
        ) from error
    if not isinstance(labels, list) or not labels:
        raise UserError(f"file {file}: found labels {labels!r}; expected a list of names")
    return labels


def _numbers(labels: Sequence[str], classes: tuple[str, ...], patch: Patch) -> list[int]:
    unknown = [label for label in labels if label not in classes]
    if unknown:
        raise UserError(
            f"patch {patch.name}: has the label {unknown[0]!r}; expected one of the "
            f"{len(classes)} of the nomenclature, such as {classes[0]!r}"
        )
    return [classes.index(label) for label in labels]
