"""BigEarthNet patches: finding them in folders or in an archive, and reading them."""

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

SIZE = 120  # height and width of a patch at 10 m, in pixels
_NATIVE_SIZES = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 120),  # 10 m
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 60),  # 20 m
    **dict.fromkeys(("B01", "B09"), 20),  # 60 m
}
# Some times in version 1 have five digits, because their leading zero was dropped. Version 2 adds
# the processing baseline, the orbit and the tile.
_NAME_PATTERNS = {
    1: re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{5,6}_\d{1,2}_\d{1,2}"),
    2: re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\w{5}_\d{1,2}_\d{1,2}"),
}
# Patches in no list: in version 1 their labels are in JSON files, in version 2 they have none.
_UNLISTED_INFOS = {1: PatchInfo(), 2: PatchInfo(labels=())}
_LABELS_FILE = "labels_metadata.json"
# Limit on the number of incomplete patches in memory while an archive is read. Archives store the
# files of a patch consecutively; only an archive packed in another order comes near the limit.
_MAX_INCOMPLETE_PATCHES = 4096


class Patch(NamedTuple):
    """A patch to read.

    Attributes:
        name: Name of the patch.
        info: What the lists say about it.
        folder: Folder of its files; empty if they are in `contents`.
        contents: Bytes of the files read from an archive, by suffix of the file name.
    """

    name: str
    info: PatchInfo
    folder: str
    contents: Mapping[str, bytes]

    @property
    def split(self) -> str:
        """The split that the patch belongs to."""
        return self.info.split

    def file(self, suffix: str) -> Path:
        """Return the path of a file of the patch, on disk or in the archive."""
        return Path(self.folder or self.name, f"{self.name}_{suffix}")


@dataclass(frozen=True)
class FolderPatches:
    """The patches below a folder, at any depth, in the order of their names.

    Attributes:
        folder: The folder to search.
        version: Version of the dataset, 1 or 2; patches of the other version are ignored.
        infos: What the lists say about each patch, by name.
    """

    folder: Path
    version: int
    infos: Mapping[str, PatchInfo] = field(repr=False)

    def __iter__(self) -> Iterator[Patch]:
        for path in self._paths():
            name = os.path.basename(path)
            yield Patch(name, self.infos.get(name, _UNLISTED_INFOS[self.version]), path, {})

    def names(self) -> Iterator[str]:
        """Iterate over the names of the patches; lists folders, reads no files."""
        return map(os.path.basename, self._paths())

    def _paths(self) -> Iterator[str]:
        folder = os.fspath(self.folder)
        return self._paths_below(folder, {os.path.realpath(folder)})

    def _paths_below(self, folder: str, visited_links: set[str]) -> Iterator[str]:
        """Yield the paths of patches; follows each symbolic link to a folder once."""
        try:
            with os.scandir(folder) as entries:
                folders = sorted((e.name, e.is_symlink()) for e in entries if e.is_dir())
        except PermissionError:  # such as a file system's lost+found
            return
        for name, is_link in folders:
            path = os.path.join(folder, name)
            if _NAME_PATTERNS[self.version].fullmatch(name):
                yield path
            elif not is_link or os.path.realpath(path) not in visited_links:
                if is_link:
                    visited_links.add(os.path.realpath(path))
                yield from self._paths_below(path, visited_links)


@dataclass(frozen=True)
class ArchivePatches:
    """The patches in a tar archive, in the order in which their files become complete.

    The files of a patch may be stored in any order.

    Attributes:
        parts: Files of the archive, in order.
        version: Version of the dataset, 1 or 2.
        infos: What the lists say about each patch, by name.
        suffixes: Suffixes of the names of the files to read of each patch, such as `B04.tif`.
    """

    parts: tuple[Path, ...]
    version: int
    infos: Mapping[str, PatchInfo] = field(repr=False)
    suffixes: tuple[str, ...]

    def __iter__(self) -> Iterator[Patch]:
        incomplete: dict[str, dict[str, bytes]] = {}
        for member, content in read_tar_members(self.parts, self._is_needed):
            patch, suffix = _split_member_name(member)
            files = incomplete.setdefault(patch, {})
            files[suffix] = content
            if len(files) == len(self.suffixes):
                yield self._make_patch(patch, incomplete.pop(patch))
            elif len(incomplete) > _MAX_INCOMPLETE_PATCHES:
                raise UserError(
                    f"archive {self.parts[0]}: found files of more than {_MAX_INCOMPLETE_PATCHES} "
                    "patches before any of them was complete; expected the files of a patch "
                    "together: unpack the archive, and pass the folder"
                )
        for patch, files in incomplete.items():  # reading them raises an error for what is missing
            yield self._make_patch(patch, files)

    def _is_needed(self, member: str) -> bool:
        patch, suffix = _split_member_name(member)
        pattern = _NAME_PATTERNS[self.version]
        return suffix in self.suffixes and pattern.fullmatch(patch) is not None

    def _make_patch(self, name: str, files: dict[str, bytes]) -> Patch:
        return Patch(name, self.infos.get(name, _UNLISTED_INFOS[self.version]), "", files)


def _split_member_name(member: str) -> tuple[str, str]:
    """Split `…/PATCH/PATCH_B04.tif` into `PATCH` and `B04.tif`."""
    folder, _, file = member.rpartition("/")
    patch = folder.rpartition("/")[2]
    return patch, file.removeprefix(f"{patch}_")


@dataclass(frozen=True)
class PatchReader:
    """Callable that reads a patch into an example.

    Attributes:
        bands: Names of the bands in the file names, such as `B04`, in the order of the channels.
        resampling: Resampling of 20 m and 60 m bands to 10 m: `nearest`, `bilinear` or `cubic`.
        flags: Features to add, a subset of `snow` and `cloud`.
    """

    bands: tuple[str, ...]
    resampling: str
    flags: tuple[str, ...]

    def suffixes(self, labels_in_file: bool) -> tuple[str, ...]:
        """Return the suffixes of the names of the files that a patch is read from."""
        return tuple(f"{band}.tif" for band in self.bands) + (_LABELS_FILE,) * labels_in_file

    def __call__(self, patch: Patch) -> Iterator[tuple[str, Example]]:
        """Read a patch.

        Yields:
            The name of the patch, and its example: `image` (120, 120, bands) uint16 digital
            numbers, `id`, `labels` (indices among the 19 classes), in version 1 `labels_43`, and
            the flags.

        Raises:
            UserError: If a file is missing, can't be read, or has an unexpected size or dtype, or
                if a label is unknown.
        """
        with gdal_environment():
            bands = [self._read_band(patch, band) for band in self.bands]
        example: Example = {"image": np.stack(bands, axis=-1), "id": patch.name}
        if patch.info.labels is None:
            labels = _read_labels(patch)
            example["labels_43"] = _label_indices(labels, CLASSES_43, patch)
            merged = {MERGED[label] for label in labels if label in MERGED}
            example["labels"] = _label_indices(sorted(merged), CLASSES_19, patch)
        else:
            example["labels"] = _label_indices(patch.info.labels, CLASSES_19, patch)
        for flag in self.flags:
            example[flag] = getattr(patch.info, flag)
        yield patch.name, example

    def _read_band(self, patch: Patch, band: str) -> np.ndarray:
        file, content = _find_file(patch, f"{band}.tif")
        size = _NATIVE_SIZES[band]
        with open_raster(file, content) as raster:
            check_raster(file, raster, bands=1, dtype="uint16", size=(size, size))
            if size == SIZE:
                return raster.read(1)
            return raster.read(1, out_shape=(SIZE, SIZE), resampling=Resampling[self.resampling])


def _find_file(patch: Patch, suffix: str) -> tuple[Path, bytes | None]:
    """Return the path of a file of a patch, and its content if it was read from an archive."""
    file = patch.file(suffix)
    missing = suffix not in patch.contents if patch.contents else not file.is_file()
    if missing:
        count = len(patch.contents or os.listdir(patch.folder))
        raise UserError(
            f"patch {patch.name}: lacks {file.name}; expected it beside the {count} other files in "
            f"{patch.folder or 'the archive'}"
        )
    return file, patch.contents.get(suffix)


def _read_labels(patch: Patch) -> list[str]:
    """Read the labels from the JSON file of a patch."""
    file, content = _find_file(patch, _LABELS_FILE)
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


def _label_indices(labels: Sequence[str], classes: tuple[str, ...], patch: Patch) -> list[int]:
    unknown = [label for label in labels if label not in classes]
    if unknown:
        raise UserError(
            f"patch {patch.name}: found the label {unknown[0]!r}; expected one of the "
            f"{len(classes)} classes, such as {classes[0]!r}"
        )
    return [classes.index(label) for label in labels]
