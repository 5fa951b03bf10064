"""Pictures with masks, as files, and what is stored of them."""

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
    """(bands, height, width), with no 0 among them: that is what lies beyond a picture."""
    values = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, (bands, height, width))
    return values.astype(dtype)


def random_classes(seed, count, height, width, block=50):
    """(height, width) class numbers in square blocks."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, count, (-(-height // block), -(-width // block)))
    return blocks.repeat(block, 0).repeat(block, 1)[:height, :width]


def painted(classes, colours):
    """(3, height, width) uint8: the colours of classes."""
    return np.moveaxis(np.array(colours, np.uint8)[classes], -1, 0)


def write(path, pixels, driver="GTiff", **profile):
    """Write pixels (bands, height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
        with rasterio.open(
            path, "w", driver=driver, dtype=pixels.dtype, **shape, **profile
        ) as image:
            image.write(pixels)
    return path


def truncate(path, share=0.6):
    """Cut off the end of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def windows_of(name, data_dir, split="all"):
    """{key of the upper left cell: (image, mask)} of all windows."""
    source = select_subset(open_dataset(name, data_dir), split).examples
    records = (source[position] for position in range(len(source)))
    keys = [key.decode() for key in source.example_ids()]
    return {key: (r["image"], r["mask"]) for key, r in zip(keys, records, strict=True)}


def expected_windows(name, pixels, classes, window, stride):
    """What `windows_of` should find of a picture: its pixels, and 0 and 255 beyond its edge."""
    height, width = classes.shape
    block = int(np.gcd(window, stride))
    image = np.pad(pixels, ((0, 0), (0, window), (0, window)))
    mask = np.pad(classes, ((0, window), (0, window)), constant_values=255)
    found = {}
    for top in range(0, max(height - window, 0) + stride, stride):
        for left in range(0, max(width - window, 0) + stride, stride):
            if (top and top - stride + window >= height) or (
                left and left - stride + window >= width
            ):
                continue  # the window before sees the last pixels already
            here = slice(top, top + window), slice(left, left + window)
            key = f"{name}/{top // block:04}/{left // block:04}"
            found[key] = np.moveaxis(image[:, *here], 0, -1), mask[here]
    return found


def assert_same_windows(found, expected):
    assert found.keys() == expected.keys()
    for key, (image, mask) in expected.items():
        np.testing.assert_array_equal(found[key][0], image, err_msg=key)
        np.testing.assert_array_equal(found[key][1], mask, err_msg=key)


def refused(name, data_dir, manual_dir, *fields):
    """The one-line message of a build that must fail and leave nothing."""
    with pytest.raises(UserError) as mistake:
        build(name, data_dir, manual_dir=manual_dir, fields=fields)
    message = str(mistake.value)
    assert "\n" not in message
    assert not list(data_dir.rglob("*array_record*"))
    return message
