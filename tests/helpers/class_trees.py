"""Folders of class folders, written as users have them, and what became of them."""

import warnings
import zipfile

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


def smooth(seed, size, bands, dtype=np.uint8):
    """Pixels (size, size, bands) with colours that change from place to place."""
    few = np.random.default_rng(seed).random((bands, 6, 6)).astype(np.float32)
    large = [Image.fromarray(band).resize((size, size), Image.Resampling.BICUBIC) for band in few]
    return (np.stack(large, axis=-1).clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def write_image(path, pixels):
    """Write pixels (h, w, bands) in the format that the path's suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".jpg", ".png") and pixels.dtype == np.uint8:
        Image.fromarray(pixels.squeeze()).save(path, quality=80)  # JPEG halves the chroma
        return
    height, width, count = pixels.shape
    form = {"height": height, "width": width, "count": count, "dtype": pixels.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **form) as image:
            image.write(np.moveaxis(pixels, -1, 0))


def write_classes(folder, classes, suffix, pixels, count=1):
    """Class folders with images such as `beach/beach_1.jpg`.

    Args:
        folder: where they are to lie.
        classes: their names, or {name of the class: name of its folder}.
        suffix: of the images.
        pixels: number of an image -> its pixels.
        count: images of each class.

    Returns:
        {id: file}.
    """
    files = {}
    for name in classes:
        for number in range(1, count + 1):
            spelled = classes[name] if isinstance(classes, dict) else name
            file = folder / spelled / f"{name}_{number}{suffix}"
            write_image(file, pixels(len(files)))
            files[f"{name}/{name}_{number}"] = file
    return files


def read_image(path):
    """Pixels (h, w, bands) as Pillow or, of a TIFF, rasterio reads them."""
    if path.suffix in (".jpg", ".png"):
        return np.atleast_3d(np.asarray(Image.open(path)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as image:
            return np.moveaxis(image.read(), 0, -1)


def zipped(folder, archive):
    """Pack a folder's content, with the entries that macOS adds."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            packed.write(path, name)
            if path.is_file():
                packed.writestr(f"__MACOSX/{name.parent}/._{name.name}", "not an image")


def stored(name, data_dir, split="all", bands=()):
    """{id: (pixels, name of the class)} of a prepared dataset."""
    dataset = open_dataset(name, data_dir, bands)
    source = select_subset(dataset, split).examples
    found = {}
    for identity, number in zip(source.example_ids(), range(len(source)), strict=True):
        example = source[number]
        found[identity.decode()] = (example["image"], dataset.classes[int(example["label"])])
    return found


def assert_holds(found, files):
    """A dataset holds the images of {id: file} as other tools read them, with their classes."""
    assert found.keys() == files.keys()
    for key, file in files.items():
        pixels, label = found[key]
        np.testing.assert_array_equal(pixels, read_image(file))
        assert label == key.split("/")[0]
