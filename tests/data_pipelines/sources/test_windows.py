import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_mask_files import random_classes, random_pixels, write

from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from data_pipelines.sources.windows import WindowGrid, Windows


class Blocks:
    """A source of blocks of one pixel, whose value is their position."""

    def __init__(self, keys):
        self.keys = np.array(keys)

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, position):
        return {"image": np.full((1, 1, 1), position), "index": np.array(position, np.int32)}


def make_keys(image, height, width):
    return [f"{image}/{row:04}/{column:04}".encode() for row, column in np.ndindex(height, width)]


@st.composite
def grids(draw):
    window = draw(st.integers(1, 60))
    return WindowGrid.from_pixels(window, draw(st.integers(1, window)))


@given(grids(), st.integers(1, 500))
def test_windows_cover_every_pixel_and_none_is_superfluous(grid, size):
    window, stride = grid.window * grid.block, grid.stride * grid.block
    count = grid.count_windows(size)
    covered = [range(number * stride, number * stride + window) for number in range(count)]
    assert set(range(size)) <= set().union(*covered)
    assert count == 1 or covered[-2].stop < size


@given(grids(), st.integers(1, 500))
def test_the_blocks_are_exactly_those_of_the_windows(grid, size):
    blocks = grid.count_blocks(size)
    assert blocks * grid.block >= size
    assert (blocks - grid.window) % grid.stride == 0
    assert (blocks - grid.window) // grid.stride + 1 == grid.count_windows(size)


@given(grids())
def test_blocks_are_as_large_as_window_and_stride_allow(grid):
    assert np.gcd(grid.window, grid.stride) == 1
    assert WindowGrid.from_dict(grid.to_dict()) == grid


def test_600_pixels_with_stride_300_are_19_windows_over_6000():
    grid = WindowGrid.from_pixels(600, 300)
    assert grid == (300, 2, 1)
    assert (grid.count_windows(6000), grid.count_blocks(6000)) == (19, 20)
    assert (grid.count_windows(600), grid.count_blocks(600)) == (1, 2)
    assert (grid.count_windows(601), grid.count_blocks(601)) == (2, 3)
    assert (grid.count_windows(1), grid.count_blocks(1)) == (1, 2)


@settings(max_examples=30)
@given(grids(), st.integers(1, 80), st.integers(1, 80))
def test_a_window_contains_the_blocks_at_its_position(grid, height, width):
    shape = grid.count_blocks(height), grid.count_blocks(width)
    blocks = Blocks(make_keys("a/b", *shape) + make_keys("c", *shape))
    windows = Windows.over_blocks(blocks, grid)
    each = grid.count_windows(height) * grid.count_windows(width)
    assert len(windows) == 2 * each
    numbers = np.arange(shape[0] * shape[1]).reshape(shape)
    for position in (0, each - 1, each, 2 * each - 1):
        image, window = divmod(position, each)
        row, column = (n * grid.stride for n in divmod(window, grid.count_windows(width)))
        inside = numbers[row : row + grid.window, column : column + grid.window]
        expected = inside + image * numbers.size
        np.testing.assert_array_equal(windows[position]["image"][..., 0], expected)
        assert windows[position]["index"] == position
        key = b"%s/%04d/%04d" % ((b"a/b", b"c")[image], row, column)
        assert windows.example_ids()[position] == key


def test_the_order_of_blocks_does_not_matter():
    keys = make_keys("a", 4, 5)
    shuffled = [keys[n] for n in np.random.default_rng(0).permutation(len(keys))]
    windows = Windows.over_blocks(Blocks(shuffled), WindowGrid(1, 2, 1))
    for key, block in zip(windows.example_ids(), windows.block_rows[:, 0, 0], strict=True):
        assert shuffled[block] == key


def test_a_missing_block_is_reported_with_its_image():
    keys = make_keys("a", 3, 3) + make_keys("town/b", 3, 4)
    keys.remove(b"town/b/0001/0002")
    with pytest.raises(UserError, match=r"image town/b: has 11 blocks; expected 3 × 4"):
        Windows.over_blocks(Blocks(keys), WindowGrid(1, 2, 1))


@pytest.mark.parametrize("key", [b"a", b"a/1", b"/1/2", 7])
def test_a_record_that_is_no_block_is_an_error(key):
    with pytest.raises(UserError, match="is no block of an image; expected a key PICTURE/ROW/COL"):
        Windows.over_blocks(Blocks([key]), WindowGrid(1, 1, 1))


@settings(max_examples=30)
@given(grids(), st.integers(1, 80), st.randoms())
def test_disjoint_windows_share_no_block_and_all_others_share_one(grid, size, random):
    shape = grid.count_blocks(size), grid.count_blocks(size)
    windows = Windows.over_blocks(Blocks(make_keys("a", *shape) + make_keys("b", *shape)), grid)
    selected = np.array([random.random() < 0.2 for _ in range(len(windows))])
    disjoint = windows.disjoint_from(selected)
    covered = set(windows.block_rows[selected].ravel())
    for is_disjoint, blocks in zip(disjoint, windows.block_rows, strict=True):
        assert is_disjoint == (not covered & set(blocks.ravel()))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two images, in which no two blocks are equal."""
    folder = tmp_path_factory.mktemp("windows")
    for name in ("a", "b"):
        write(folder / "images" / f"{name}.tif", random_pixels(ord(name), 3, 90, 120))
        write(folder / "masks" / f"{name}.tif", random_classes(0, 2, 90, 120)[None].astype("uint8"))
    fields = ("classes=land,water", "window=12", "stride=6", "validation=0")
    build("geotiff_masks/windows", folder / "data", manual_dir=folder, fields=fields)
    return open_dataset("geotiff_masks/windows", folder / "data")


def read_blocks(source):
    """Return the blocks in the windows of a source, as the bytes of their pixels."""
    images = [source[position]["image"] for position in range(len(source))]
    blocks = (image[y : y + 6, x : x + 6] for image in images for y in (0, 6) for x in (0, 6))
    return {block.tobytes() for block in blocks}


@pytest.mark.parametrize("fraction", ["1%", "10%"])
def test_a_subset_and_its_complement_share_no_pixel(dataset, fraction):
    part, rest = (
        select_subset(dataset, f"train[{fraction}]{suffix}").examples for suffix in ("", ".rest")
    )
    assert len(part) == round(0.01 * int(fraction[:-1]) * len(select_subset(dataset, "train")))
    assert len(rest) > len(part)
    assert not read_blocks(part) & read_blocks(rest)
    assert len(read_blocks(select_subset(dataset, "train").examples)) == 2 * 15 * 20


def test_splits_of_a_subset_share_no_pixel_either_and_stay_within_it(dataset):
    ids = set(select_subset(dataset, "train[10%]").examples.example_ids())
    for outer in ("train[10%]", "train[10%].rest"):
        part, rest = (
            select_subset(dataset, f"{outer}[5%]{suffix}").examples for suffix in ("", ".rest")
        )
        assert not read_blocks(part) & read_blocks(rest)
        for source in (part, rest):
            assert len(source)
            assert (set(source.example_ids()) <= ids) is (outer == "train[10%]")


@pytest.mark.parametrize("noun", ["images", "pictures"])
def test_a_split_of_images_keeps_the_windows_of_each_image_together(dataset, noun):
    part, rest = (
        select_subset(dataset, f"train[5:5 of {noun}]{suffix}").examples for suffix in ("", ".rest")
    )
    (first,), (second,) = ({name[:1] for name in s.example_ids()} for s in (part, rest))
    assert {first, second} == {b"a", b"b"}
    assert len(part) == len(rest) == len(select_subset(dataset, "train")) / 2


def test_windows_survive_pickling(dataset):
    source = select_subset(dataset, "train[50%]", seed=3).examples
    copy = pickle.loads(pickle.dumps(source))
    for name, value in source[5].items():
        np.testing.assert_array_equal(copy[5][name], value)


def test_windows_have_no_flags(dataset):
    with pytest.raises(UserError, match="has no boolean feature 'snow'"):
        select_subset(dataset, "train[not snow]")


@pytest.fixture(scope="module")
def odd_sizes(tmp_path_factory):
    """Images whose sides are no multiples of blocks of 6 pixels, one smaller than a window."""
    folder = tmp_path_factory.mktemp("odd_sizes")
    for name, size in SIZES.items():
        write(folder / "images" / f"{name}.tif", random_pixels(ord(name), 3, *size))
        classes = random_classes(ord(name), 2, *size, block=3)
        write(folder / "masks" / f"{name}.tif", classes[None].astype("uint8"))
    fields = ("classes=land,water", "window=12", "stride=6", "validation=0")
    build("geotiff_masks/odd", folder / "data", manual_dir=folder, fields=fields)
    return open_dataset("geotiff_masks/odd", folder / "data")


SIZES = {"a": (50, 31), "b": (5, 40), "c": (24, 24), "d": (13, 7)}


def make_original(name):
    pixels = np.moveaxis(random_pixels(ord(name), 3, *SIZES[name]), 0, -1)
    return pixels, random_classes(ord(name), 2, *SIZES[name], block=3)


def test_images_have_their_original_size_and_pixels(odd_sizes):
    images = select_subset(odd_sizes, "train").images()
    assert [(image.height, image.width) for image in images] == list(SIZES.values())
    for image, name in zip(images, SIZES, strict=True):
        record = image.read(0, 0, image.height, image.width)
        pixels, mask = make_original(name)
        np.testing.assert_array_equal(record["image"], pixels)
        np.testing.assert_array_equal(record["mask"], mask)


@given(st.integers(0, 49), st.integers(0, 30), st.data())
@settings(max_examples=40)
def test_any_window_of_an_image_can_be_read(odd_sizes, top, left, data):
    height, width = data.draw(st.integers(1, 50 - top)), data.draw(st.integers(1, 31 - left))
    image = select_subset(odd_sizes, "train").images()[0]
    record = image.read(top, left, height, width)
    window = slice(top, top + height), slice(left, left + width)
    for actual, expected in zip((record["image"], record["mask"]), make_original("a"), strict=True):
        np.testing.assert_array_equal(actual, expected[window])
    assert image.is_needed(top, left, height, width)


def test_images_of_a_subset_have_only_the_labels_inside_its_windows(dataset):
    labelled = []
    for part in ("train[10%]", "train[10%].rest"):
        covered = read_blocks(select_subset(dataset, part).examples)
        masks = []
        for image in select_subset(dataset, part).images():
            record = image.read(0, 0, image.height, image.width)
            for y in range(0, image.height, 6):
                for x in range(0, image.width, 6):
                    block = np.s_[y : y + 6, x : x + 6]
                    inside = record["image"][block].tobytes() in covered
                    assert image.is_needed(y, x, 6, 6) == inside
                    assert (record["mask"][block] != 255).all() == inside
                    assert (record["mask"][block] != 255).any() == inside
            masks.append(record["mask"] != 255)
        labelled.append(np.stack(masks))
    assert not (labelled[0] & labelled[1]).any()
    assert labelled[0].any()


def test_images_without_windows_in_a_subset_are_excluded(dataset):
    source = select_subset(dataset, "train[0.2%]").examples
    assert len(source) == 1
    (image,) = select_subset(dataset, "train[0.2%]").images()
    mask = image.read(0, 0, image.height, image.width)["mask"]
    assert (mask != 255).sum() == 12 * 12
    np.testing.assert_array_equal(mask[mask != 255].reshape(12, 12), source[0]["mask"])


def test_images_have_the_selected_bands(odd_sizes):
    selected = open_dataset(
        odd_sizes.name, Path(odd_sizes.info.data_dir).parents[2], ("blue", "red")
    )
    image = select_subset(selected, "train").images()[0].read(1, 2, 9, 20)["image"]
    np.testing.assert_array_equal(image, make_original("a")[0][1:10, 2:22, [2, 0]])


def test_records_that_are_no_blocks_are_images(data_dir):
    aerial = open_dataset("demo_aerial/tiny", data_dir)
    source, images = (
        select_subset(aerial, "test[50%]").examples,
        select_subset(aerial, "test[50%]").images(),
    )
    assert len(source) == len(images) == 4
    for record, image in zip((source[i] for i in range(4)), images, strict=True):
        assert (image.height, image.width) == (64, 64)
        part = image.read(7, 30, 20, 34)
        np.testing.assert_array_equal(part["image"], record["image"][7:27, 30:])
        np.testing.assert_array_equal(part["mask"], record["mask"][7:27, 30:])


def test_examples_without_masks_have_no_images(data_dir):
    with pytest.raises(UserError, match="have target 'label'; expected images with target 'mask'"):
        select_subset(open_dataset("demo_scenes/tiny", data_dir), "all").images()
