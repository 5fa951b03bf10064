"""Images in folders that bear the names of their classes, unpacked or in zip archives.

The core of the builders that read such folders: find the images and their classes, say what is
wrong with the folders, and read one image.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import Sensor
from data_pipelines.class_folders.images import read_pixels
from data_pipelines.errors import UserError
from data_pipelines.files.paths import File, find_files, format_names
from data_pipelines.files.rasters import IMAGE_SUFFIXES
from data_pipelines.reading import Example

__all__ = [
    "LabelledImage",
    "check_images",
    "count_images",
    "find_images_in_folders",
    "find_images_of_classes",
    "make_dataset_info",
    "normalise_name",
    "read_image",
]


_SUFFIXES = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)


class LabelledImage(NamedTuple):
    """An image and its class.

    Attributes:
        file: of the image.
        label: the name of its class.
        above: the folders that its class folder is in, outermost first.
        split: that it belongs to.
    """

    file: File
    label: str
    above: tuple[str, ...]
    split: str = "train"

    @property
    def key(self) -> str:
        """Such as `beach/beach_1`: without the suffix, so that it is the same for other bands."""
        return f"{self.label}/{self.file.stem}"


def find_images_of_classes(
    folder: Path, classes: Sequence[str], wanted: str, within: str = ""
) -> list[LabelledImage]:
    """The images that lie in folders of known classes, at any depth.

    A folder is a class's if its name is the class's but for case, spaces, `_` and `-`.

    Args:
        folder: where to look.
        classes: their names.
        wanted: what the folder should hold, for a message.
        within: look only in folders whose path below `folder` contains this, in any case.

    Raises:
        UserError: there is none.
    """
    names = {normalise_name(name): name for name in classes}
    files = _images(folder, wanted)
    scenes = []
    for file in files:
        depths = [i for i, name in enumerate(file.folders) if normalise_name(name) in names]
        if depths and within.casefold() in "/".join(file.folders).casefold():
            label = names[normalise_name(file.folders[depths[-1]])]
            scenes.append(LabelledImage(file, label, file.folders[: depths[-1]]))
    if not scenes:
        there = sorted({"/".join(file.folders) or "." for file in files})
        inside = f" in a folder whose path contains {within!r}" if within else ""
        raise UserError(
            f"folder {folder}: holds no class folder{inside}; found images in "
            f"{format_names(there)}, "
            f"expected {wanted}"
        )
    return scenes


def find_images_in_folders(folder: Path) -> list[LabelledImage]:
    """All images below a folder; the class of each is the name of the folder that it lies in.

    Raises:
        UserError: there is none, or a folder holds both images and folders with images.
    """
    files = _images(folder, f"{_SUFFIXES} files in class folders")
    holding: dict[tuple[str, ...], File] = {}
    for file in files:
        holding.setdefault(file.folders, file)
    for folders in holding:
        for depth in range(len(folders)):
            if stray := holding.get(folders[:depth]):
                raise UserError(
                    f"file {stray}: lies beside the folder {folders[depth]}, which holds images "
                    "too; expected images in class folders alone: move it away"
                )
    if () in holding:
        raise UserError(
            f"folder {folder}: holds images, such as {files[0].name}, and no class folder; "
            "expected a folder of images for each class"
        )
    return [LabelledImage(f, _without_zip(f.folders[-1]), f.folders[:-1]) for f in files]


def check_images(
    folder: Path, scenes: Sequence[LabelledImage], classes: Sequence[str] = ()
) -> None:
    """See to it that every class has images and every image a name of its own.

    Args:
        folder: that was searched.
        scenes: what was found and is to be used.
        classes: those that there should be; empty for one of every folder beside the class folders.

    Raises:
        UserError: a class folder holds no image, a class has no folder, or two files have the same
            name in a class and split.
    """
    _check_not_empty(folder, scenes, classes)
    labels = {scene.label for scene in scenes}
    missing = [name for name in classes if name not in labels]
    if missing:
        raise UserError(
            f"folder {folder}: lacks a folder of class {', '.join(missing)}; found those of "
            f"{', '.join(sorted(labels))} in {', '.join(_by_tree(scenes))}"
        )
    seen: dict[tuple[str, str], File] = {}
    for scene in scenes:
        first = seen.setdefault((scene.split, scene.key), scene.file)
        if first is not scene.file:
            raise UserError(
                f"file {scene.file}: has the name and the class of {first}; expected each name "
                "once: move one of them away, or read a folder that holds one"
            )


def count_images(
    scenes: Sequence[LabelledImage], unused: Iterable[LabelledImage], published: Mapping[str, int]
) -> list[tuple[str, str]]:
    """What a `Reading` says of class folders.

    Args:
        scenes: to be used.
        unused: found and not to be used.
        published: images of each class, as the authors have it; empty where there are none.
    """
    found = []
    for above, of_tree in _by_tree(scenes).items():
        numbers = Counter(scene.label for scene in of_tree)
        found.append(
            (
                f"class folders in {above}",
                ", ".join(f"{label} {number:,}" for label, number in sorted(numbers.items())),
            )
        )
    numbers = Counter(scene.label for scene in scenes)
    others = [
        f"{label} {numbers[label]:,} instead of {number:,}"
        for label, number in published.items()
        if numbers[label] != number
    ]
    if published:
        found.append(("other than published", ", ".join(others) or "nothing"))
    for above, of_tree in _by_tree(unused).items():
        found.append((f"not used in {above}", f"{len(of_tree):,} images"))
    return found


def make_dataset_info(
    builder: tfds.core.DatasetBuilder,
    sensor: Sensor,
    size: int,
    dtype: str,
    classes: Sequence[str],
    homepage: str | None = None,
) -> tfds.core.DatasetInfo:
    """What TFDS is to know of square images of `size` pixels with one label each."""
    return tfds.core.DatasetInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(
                    shape=(size, size, len(sensor.bands)),
                    dtype=np.dtype(dtype),
                    encoding=tfds.features.Encoding.BYTES,
                ),
                "label": tfds.features.ClassLabel(names=list(classes)),
                "id": tfds.features.Text(),
            }
        ),
        metadata=tfds.core.MetadataDict({"sensor": sensor.to_dict()}),
        homepage=homepage,
    )


def read_image(
    scene: LabelledImage,
    size: int,
    dtype: str,
    bands: int,
    channels: Sequence[int] = (),
    advice: str = "",
) -> Iterator[tuple[str, Example]]:
    """Read the image of a scene.

    Args:
        scene: to be read.
        size: height and width that it should have, in pixels.
        dtype: that its pixels should have.
        bands: that it should have; 0 for any number.
        channels: those of its bands that are wanted, in the order wanted and counted from 1; empty
            for all.
        advice: what to do about other bands or another dtype.

    Yields:
        Its key, and `image` (size, size, bands), `label` and `id`.

    Raises:
        UserError: it can't be read, or is otherwise.
    """
    pixels = read_pixels(scene.file)
    height, width, count = pixels.shape
    if count != bands and (bands or count < max(channels)):
        raise UserError(
            f"file {scene.file}: has {_bands(count)}; expected {bands or max(channels)}{advice}"
        )
    if pixels.dtype != dtype:
        raise UserError(
            f"file {scene.file}: its pixels are {pixels.dtype}; expected {dtype}{advice}"
        )
    if (height, width) != (size, size):
        raise UserError(
            f"file {scene.file}: has {height} × {width} pixels; expected {size} × {size}"
        )
    if channels:
        pixels = pixels[..., [channel - 1 for channel in channels]]
    yield scene.key, {"image": pixels, "label": scene.label, "id": scene.key}


def normalise_name(name: str) -> str:
    """A folder's name without its case, spaces, `_`, `-` and `.zip`."""
    return re.sub(r"[\s_-]+", "", _without_zip(name.casefold()))


def _without_zip(name: str) -> str:
    return name[:-4] if name.casefold().endswith(".zip") else name


def _bands(count: int) -> str:
    return f"{count} band{'s' * (count != 1)}"


def _images(folder: Path, wanted: str) -> list[File]:
    files = find_files(folder, lambda name: Path(name).suffix.casefold() in IMAGE_SUFFIXES)
    if not files:
        there = sorted(path.name for path in folder.iterdir())
        raise UserError(
            f"folder {folder}: holds no image; found {format_names(there)}, expected {wanted}"
        )
    return files


def _check_not_empty(folder: Path, scenes: Sequence[LabelledImage], classes: Sequence[str]) -> None:
    names = {normalise_name(name) for name in classes}
    holding = {scene.file.folders for scene in scenes}
    occupied = {folders[:depth] for folders in holding for depth in range(1, len(folders) + 1)}
    for above in sorted({scene.above for scene in scenes}):
        beside = folder.joinpath(*above)
        # Archives are left out: they need not say which of their folders are empty.
        for path in sorted(beside.iterdir()) if beside.is_dir() else ():
            ignored = path.name.startswith(".") or path.name == "__MACOSX"
            if ignored or not path.is_dir() or (*above, path.name) in occupied:
                continue
            if not names or normalise_name(path.name) in names:
                there = sorted(entry.name for entry in path.iterdir())
                raise UserError(
                    f"folder {path}: holds no image, as the class folders beside it do; found "
                    f"{format_names(there)}, expected {_SUFFIXES} files: fill it, or move it away"
                )


def _by_tree(scenes: Iterable[LabelledImage]) -> dict[str, list[LabelledImage]]:
    trees: dict[str, list[LabelledImage]] = {}
    for scene in scenes:
        trees.setdefault("/".join(scene.above) or ".", []).append(scene)
    return trees
