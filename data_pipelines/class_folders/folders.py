"""Images in class folders, unpacked or in zip archives.

Shared by the builders of such datasets: finds the images and their classes, checks the folders, and
reads single images.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, format_names
from data_pipelines.files.rasters import IMAGE_SUFFIXES, find_images
from data_pipelines.imagery.decoding import decode_image
from data_pipelines.imagery.fitting import fit_image
from data_pipelines.imagery.pixels import PixelFormat
from data_pipelines.reading import Example

__all__ = [
    "LabelledImage",
    "check_images",
    "describe_spellings",
    "find_images_in_folders",
    "find_images_of_classes",
    "make_dataset_info",
    "normalise_name",
    "read_image",
    "summarise_images",
]

_SUFFIXES = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)


class LabelledImage(NamedTuple):
    """An image file and its class.

    Attributes:
        file: The image file.
        label: Name of the class.
        parents: Names of the folders above the class folder, outermost first.
        split: The split that the image belongs to.
    """

    file: File
    label: str
    parents: tuple[str, ...]
    split: str = "train"

    @property
    def key(self) -> str:
        """The example key, such as `beach/beach_1`; without suffix, to be equal for other bands."""
        return f"{self.label}/{unicodedata.normalize('NFC', self.file.stem)}"


def find_images_of_classes(
    folder: Path, classes: Sequence[str], expected: str, within: str = ""
) -> list[LabelledImage]:
    """Find the images in folders of known classes, at any depth.

    Names of folders and classes are compared ignoring case, spaces, `_` and `-`.

    Args:
        folder: The folder to search.
        classes: Names of the classes.
        expected: Description of what the folder should hold, for error messages.
        within: Search only folders whose path below `folder` contains this text, ignoring case.

    Raises:
        UserError: If there is no such image.
    """
    names = {normalise_name(name): name for name in classes}
    files = _find_image_files(folder, expected)
    images = []
    for file in files:
        depths = [i for i, name in enumerate(file.folders) if normalise_name(name) in names]
        if depths and within.casefold() in "/".join(file.folders).casefold():
            label = names[normalise_name(file.folders[depths[-1]])]
            images.append(LabelledImage(file, label, file.folders[: depths[-1]]))
    if not images:
        folders = sorted({"/".join(file.folders) or "." for file in files})
        restriction = f" in a folder whose path contains {within!r}" if within else ""
        raise UserError(
            f"folder {folder}: holds no class folder{restriction}; found images in "
            f"{format_names(folders)}; expected {expected}"
        )
    return images


def find_images_in_folders(folder: Path, aside: Counter[str] | None = None) -> list[LabelledImage]:
    """Find all images below a folder; the class of an image is the name of its folder.

    Args:
        folder: The folder to search.
        aside: Counts the other files by their kind, see `find_files`.

    Raises:
        UserError: If there is no image, or if a folder holds both images and folders with images.
    """
    files = _find_image_files(folder, f"{_SUFFIXES} files in class folders", aside)
    first_files: dict[tuple[str, ...], File] = {}
    for file in files:
        first_files.setdefault(file.folders, file)
    for folders in first_files:
        for depth in range(len(folders)):
            if stray := first_files.get(folders[:depth]):
                raise UserError(
                    f"file {stray}: is beside the folder {folders[depth]}, which also holds "
                    "images; expected images only in class folders: move the file away"
                )
    if () in first_files:
        raise UserError(
            f"folder {folder}: found images, such as {files[0].name}, and no class folder; "
            "expected one folder of images per class"
        )
    labels = _merge_spellings([_remove_zip_suffix(file.folders[-1]) for file in files])
    return [LabelledImage(f, labels[_remove_zip_suffix(f.folders[-1])], f.folders[:-1])
            for f in files]  # fmt: skip


def describe_spellings(images: Iterable[LabelledImage]) -> str:
    """Describe the classes whose folders are spelt in several ways; empty if there are none."""
    spellings: dict[str, set[str]] = {}
    for image in images:
        spellings.setdefault(image.label, set()).add(_remove_zip_suffix(image.file.folders[-1]))
    return ", ".join(
        f"{label} for {' and '.join(sorted(names))}"
        for label, names in spellings.items()
        if len(names) > 1
    )


def check_images(
    folder: Path, images: Sequence[LabelledImage], classes: Sequence[str] = ()
) -> None:
    """Check that every class has images, and that example keys are unique.

    Args:
        folder: The folder that was searched.
        images: The images found that are used.
        classes: The expected classes. Default: every folder beside a class folder is a class.

    Raises:
        UserError: If a class folder holds no image, if a class has no folder, or if two files have
            the same name in a class and split.
    """
    _check_class_folders_not_empty(folder, images, classes)
    labels = {image.label for image in images}
    missing = [name for name in classes if name not in labels]
    if missing:
        raise UserError(
            f"folder {folder}: lacks a folder of class {', '.join(missing)}; found those of "
            f"{', '.join(sorted(labels))} in {', '.join(_group_by_parent(images))}"
        )
    files: dict[tuple[str, str], File] = {}
    for image in images:
        first = files.setdefault((image.split, image.key), image.file)
        if first is not image.file:
            raise UserError(
                f"file {image.file}: has the same name and class as {first}; expected unique "
                "names: move one of them away, or read a folder that holds only one"
            )


def summarise_images(
    images: Sequence[LabelledImage], unused: Iterable[LabelledImage], published: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Count the images per folder and class, for the summary of a `Reading`.

    Args:
        images: The images found that are used.
        unused: The images found that are not used.
        published: The published number of images of each class; empty if unknown.

    Returns:
        Pairs of a heading and the counts as text.
    """
    summary = []
    for parent, group in _group_by_parent(images).items():
        counts = Counter(image.label for image in group)
        summary.append(
            (
                f"class folders in {parent}",
                ", ".join(f"{label} {count:,}" for label, count in sorted(counts.items())),
            )
        )
    counts = Counter(image.label for image in images)
    differences = [
        f"{label} {counts[label]:,} instead of {count:,}"
        for label, count in published.items()
        if counts[label] != count
    ]
    if published:
        summary.append(("differences from published counts", ", ".join(differences) or "none"))
    for parent, group in _group_by_parent(unused).items():
        summary.append((f"unused in {parent}", f"{len(group):,} images"))
    return summary


def make_dataset_info(
    builder: tfds.core.DatasetBuilder,
    sensor: Sensor,
    size: int,
    pixels: PixelFormat,
    classes: Sequence[str],
    homepage: str | None = None,
) -> tfds.core.DatasetInfo:
    """Describe a dataset of square single-label images to TFDS.

    Args:
        builder: The builder of the dataset, whose docstring is the description.
        sensor: The sensor with the bands of the images.
        size: Height and width of the images in pixels.
        pixels: How the pixels are read.
        classes: Names of the classes, in the order of the labels.
        homepage: Web page of the dataset.
    """
    return tfds.core.DatasetInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(
                    shape=(size, size, len(sensor.bands)),
                    dtype=np.dtype(pixels.stored_dtype),
                    encoding=tfds.features.Encoding.BYTES,
                ),
                "label": tfds.features.ClassLabel(names=list(classes)),
                "id": tfds.features.Text(),
            }
        ),
        metadata=tfds.core.MetadataDict(
            {"sensor": sensor.to_dict(), **({"nodata": 0} if pixels.has_nodata else {})}
        ),
        homepage=homepage,
    )


def read_image(
    image: LabelledImage,
    size: int,
    pixels: PixelFormat,
    fit: str = "",
) -> Iterator[tuple[str, Example]]:
    """Read an image file into an example.

    Args:
        image: The image to read.
        size: Height and width in pixels.
        pixels: How its pixels are read.
        fit: How an image of another size is brought to it, see `fit_image`.

    Yields:
        The key of the example, and the example: `image` (size, size, bands), `label` and `id`.

    Raises:
        UserError: If the file can't be read, or has another size, dtype or other bands.
    """
    decoded = pixels.convert(decode_image(image.file, pixels))
    fitted = fit_image(image.file, decoded, size, fit)
    yield image.key, {"image": fitted, "label": image.label, "id": image.key}


def normalise_name(name: str) -> str:
    """Return the name of a folder in lower case, without spaces, `_`, `-` and `.zip`."""
    composed = unicodedata.normalize("NFC", name).casefold()
    return re.sub(r"[\s_-]+", "", _remove_zip_suffix(composed))


def _merge_spellings(names: Iterable[str]) -> dict[str, str]:
    """Return {name: the commonest of the names that differ from it by spelling alone}."""
    groups: dict[str, Counter[str]] = {}
    for name in names:
        groups.setdefault(normalise_name(name), Counter())[name] += 1
    return {
        name: unicodedata.normalize("NFC", counts.most_common(1)[0][0])
        for counts in groups.values()
        for name in counts
    }


def _remove_zip_suffix(name: str) -> str:
    return name[:-4] if name.casefold().endswith(".zip") else name


def _find_image_files(folder: Path, expected: str, aside: Counter[str] | None = None) -> list[File]:
    files = find_images(folder, aside)
    if not files:
        entries = sorted(path.name for path in folder.iterdir())
        raise UserError(
            f"folder {folder}: holds no image; found {format_names(entries)}; expected {expected}"
        )
    return files


def _check_class_folders_not_empty(
    folder: Path, images: Sequence[LabelledImage], classes: Sequence[str]
) -> None:
    names = {normalise_name(name) for name in classes}
    image_folders = {image.file.folders for image in images}
    not_empty = {path[:depth] for path in image_folders for depth in range(1, len(path) + 1)}
    for parents in sorted({image.parents for image in images}):
        parent = folder.joinpath(*parents)
        # Zip archives are not checked, because they need not list their empty folders.
        for path in sorted(parent.iterdir()) if parent.is_dir() else ():
            ignored = path.name.startswith(".") or path.name == "__MACOSX"
            if ignored or not path.is_dir() or (*parents, path.name) in not_empty:
                continue
            if not names or normalise_name(path.name) in names:
                entries = sorted(entry.name for entry in path.iterdir())
                raise UserError(
                    f"folder {path}: holds no image, unlike the class folders beside it; found "
                    f"{format_names(entries)}; expected {_SUFFIXES} files: add images, or move the "
                    "folder away"
                )


def _group_by_parent(images: Iterable[LabelledImage]) -> dict[str, list[LabelledImage]]:
    """Group images by the path of the folder above their class folder."""
    groups: dict[str, list[LabelledImage]] = {}
    for image in images:
        groups.setdefault("/".join(image.parents) or ".", []).append(image)
    return groups
