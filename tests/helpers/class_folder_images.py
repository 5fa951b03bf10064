"""Writing images in class folders, and comparing datasets built from them with the files."""

import warnings
import zipfile

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


def make_smooth_image(seed, size, bands, dtype=np.uint8):
    """Create random pixels, (size, size, bands), that vary smoothly."""
    coarse = np.random.default_rng(seed).random((bands, 6, 6)).astype(np.float32)
    fine = [Image.fromarray(band).resize((size, size), Image.Resampling.BICUBIC) for band in coarse]
    return (np.stack(fine, axis=-1).clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def write_image(path, pixels):
    """Write pixels, (height, width, bands), in the format given by the suffix of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".jpg", ".png") and pixels.dtype == np.uint8:
        Image.fromarray(pixels.squeeze()).save(path, quality=80)  # JPEG subsamples the chroma
        return
    height, width, count = pixels.shape
    profile = {"height": height, "width": width, "count": count, "dtype": pixels.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as image:
            image.write(np.moveaxis(pixels, -1, 0))


def write_class_folders(folder, classes, suffix, pixels, count=1):
    """Write class folders with images such as `beach/beach_1.jpg`.

    Args:
        folder: The folder above the class folders.
        classes: Names of the classes, or a dict from the name of a class to that of its folder.
        suffix: Suffix of the image files.
        pixels: Function that returns the pixels of the image with an index.
        count: Number of images of each class.

    Returns:
        The image files, by the id of the example.
    """
    files = {}
    for name in classes:
        for number in range(1, count + 1):
            class_folder = classes[name] if isinstance(classes, dict) else name
            file = folder / class_folder / f"{name}_{number}{suffix}"
            write_image(file, pixels(len(files)))
            files[f"{name}/{name}_{number}"] = file
    return files


def read_image(path):
    """Read pixels, (height, width, bands), with Pillow or, from a TIFF, with rasterio."""
    if path.suffix in (".jpg", ".png"):
        return np.atleast_3d(np.asarray(Image.open(path)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as image:
            return np.moveaxis(image.read(), 0, -1)


def write_zip(folder, archive):
    """Pack the content of a folder into a zip archive, with the entries that macOS adds."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            file.write(path, name)
            if path.is_file():
                file.writestr(f"__MACOSX/{name.parent}/._{name.name}", "not an image")


def load_examples(name, data_dir, split="all", bands=()):
    """Load the examples of a dataset: {id: (pixels, class name)}."""
    dataset = open_dataset(name, data_dir, bands)
    source = select_subset(dataset, split).examples
    examples = {}
    for index, identity in enumerate(source.example_ids()):
        example = source[index]
        examples[identity.decode()] = (example["image"], dataset.classes[int(example["label"])])
    return examples


def assert_examples_equal_files(examples, files):
    """Check that examples have the pixels, as other tools read them, and classes of the files.

    Args:
        examples: {id: (pixels, class name)}, from `load_examples`.
        files: {id: file}.
    """
    assert examples.keys() == files.keys()
    for key, file in files.items():
        pixels, label = examples[key]
        np.testing.assert_array_equal(pixels, read_image(file))
        assert label == key.split("/")[0]
