"""Files of images and masks, and the windows that are stored of them."""

import warnings

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


def random_pixels(seed, bands, height, width, dtype=np.uint8):
    """Make (bands, height, width) pixels without 0, which is the value outside an image."""
    values = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, (bands, height, width))
    return values.astype(dtype)


def random_classes(seed, count, height, width, block=50):
    """Make (height, width) class numbers, constant in squares of `block` pixels."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, count, (-(-height // block), -(-width // block)))
    return blocks.repeat(block, 0).repeat(block, 1)[:height, :width]


def paint_classes(classes, colours):
    """Make the (3, height, width) uint8 colours of class numbers."""
    return np.moveaxis(np.array(colours, np.uint8)[classes], -1, 0)


def write(path, pixels, driver="GTiff", **profile):
    """Write pixels (bands, height, width) to a file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
        with rasterio.open(
            path, "w", driver=driver, dtype=pixels.dtype, **shape, **profile
        ) as image:
            image.write(pixels)
    return path


def truncate(path, fraction=0.6):
    """Truncate a file to a fraction of its size."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


def read_windows(name, data_dir, split="all"):
    """Read all windows of a split: {key of the top left block: (image, mask)}."""
    source = select_subset(open_dataset(name, data_dir), split).examples
    records = (source[position] for position in range(len(source)))
    keys = [key.decode() for key in source.example_ids()]
    return {key: (r["image"], r["mask"]) for key, r in zip(keys, records, strict=True)}


def make_expected_windows(name, pixels, classes, window, stride):
    """Make the expected result of `read_windows` for an image: 0 and 255 outside of it."""
    height, width = classes.shape
    block = int(np.gcd(window, stride))
    image = np.pad(pixels, ((0, 0), (0, window), (0, window)))
    mask = np.pad(classes, ((0, window), (0, window)), constant_values=255)
    windows = {}
    for top in range(0, max(height - window, 0) + stride, stride):
        for left in range(0, max(width - window, 0) + stride, stride):
            if (top and top - stride + window >= height) or (
                left and left - stride + window >= width
            ):
                continue  # the previous window covers the last pixels already
            window_slices = slice(top, top + window), slice(left, left + window)
            key = f"{name}/{top // block:04}/{left // block:04}"
            windows[key] = np.moveaxis(image[:, *window_slices], 0, -1), mask[window_slices]
    return windows


def assert_same_windows(actual, expected):
    assert actual.keys() == expected.keys()
    for key, (image, mask) in expected.items():
        np.testing.assert_array_equal(actual[key][0], image, err_msg=key)
        np.testing.assert_array_equal(actual[key][1], mask, err_msg=key)


def get_build_error(name, data_dir, manual_dir, *fields):
    """Return the one-line message of a build that must fail and leave no shards."""
    with pytest.raises(UserError) as error:
        build(name, data_dir, manual_dir=manual_dir, fields=fields)
    message = str(error.value)
    assert "\n" not in message
    assert not list(data_dir.rglob("*array_record*"))
    return message
