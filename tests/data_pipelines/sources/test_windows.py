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


class Cells:
    """A source of cells of one pixel, which hold their own numbers."""

    def __init__(self, keys):
        self.keys = np.array(keys)

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, position):
        return {"image": np.full((1, 1, 1), position), "index": np.array(position, np.int32)}


def keys_of(picture, height, width):
    return [f"{picture}/{row:04}/{column:04}".encode() for row, column in np.ndindex(height, width)]


@st.composite
def grids(draw):
    window = draw(st.integers(1, 60))
    return WindowGrid.from_pixels(window, draw(st.integers(1, window)))


@given(grids(), st.integers(1, 500))
def test_windows_see_every_pixel_and_none_is_superfluous(grid, size):
    window, stride = grid.window * grid.block, grid.stride * grid.block
    count = grid.count(size)
    seen = [range(number * stride, number * stride + window) for number in range(count)]
    assert set(range(size)) <= set().union(*seen)
    assert count == 1 or seen[-2].stop < size


@given(grids(), st.integers(1, 500))
def test_cells_are_those_that_the_windows_take(grid, size):
    blocks = grid.blocks(size)
    assert blocks * grid.block >= size
    assert (blocks - grid.window) % grid.stride == 0
    assert (blocks - grid.window) // grid.stride + 1 == grid.count(size)


@given(grids())
def test_cells_are_as_large_as_window_and_stride_allow(grid):
    assert np.gcd(grid.window, grid.stride) == 1
    assert WindowGrid.from_dict(grid.to_dict()) == grid


def test_600_pixels_every_300_are_19_windows_over_6000():
    grid = WindowGrid.from_pixels(600, 300)
    assert grid == (300, 2, 1)
    assert (grid.count(6000), grid.blocks(6000)) == (19, 20)
    assert (grid.count(600), grid.blocks(600)) == (1, 2)
    assert (grid.count(601), grid.blocks(601)) == (2, 3)
    assert (grid.count(1), grid.blocks(1)) == (1, 2)


@settings(max_examples=30)
@given(grids(), st.integers(1, 80), st.integers(1, 80))
def test_a_window_holds_the_cells_of_its_place(grid, height, width):
    shape = grid.blocks(height), grid.blocks(width)
    blocks = Cells(keys_of("a/b", *shape) + keys_of("c", *shape))
    windows = Windows.over_blocks(blocks, grid)
    each = grid.count(height) * grid.count(width)
    assert len(windows) == 2 * each
    numbers = np.arange(shape[0] * shape[1]).reshape(shape)
    for position in (0, each - 1, each, 2 * each - 1):
        picture, place = divmod(position, each)
        row, column = (n * grid.stride for n in divmod(place, grid.count(width)))
        here = numbers[row : row + grid.window, column : column + grid.window]
        expected = here + picture * numbers.size
        np.testing.assert_array_equal(windows[position]["image"][..., 0], expected)
        assert windows[position]["index"] == position
        name = b"%s/%04d/%04d" % ((b"a/b", b"c")[picture], row, column)
        assert windows.example_ids()[position] == name


def test_the_order_of_cells_does_not_matter():
    keys = keys_of("a", 4, 5)
    shuffled = [keys[n] for n in np.random.default_rng(0).permutation(len(keys))]
    windows = Windows.over_blocks(Cells(shuffled), WindowGrid(1, 2, 1))
    for key, block in zip(windows.example_ids(), windows.block_rows[:, 0, 0], strict=True):
        assert shuffled[block] == key


def test_a_missing_cell_is_told_with_its_picture():
    keys = keys_of("a", 3, 3) + keys_of("town/b", 3, 4)
    keys.remove(b"town/b/0001/0002")
    with pytest.raises(UserError, match=r"picture town/b: has 11 cells; expected 3 × 4"):
        Windows.over_blocks(Cells(keys), WindowGrid(1, 2, 1))


@pytest.mark.parametrize("key", [b"a", b"a/1", b"/1/2", 7])
def test_a_record_that_is_no_cell_is_refused(key):
    with pytest.raises(UserError, match="is no cell of a picture; expected a key PICTURE/ROW/COL"):
        Windows.over_blocks(Cells([key]), WindowGrid(1, 1, 1))


@settings(max_examples=30)
@given(grids(), st.integers(1, 80), st.randoms())
def test_windows_apart_share_no_cell_and_all_others_share_one(grid, size, random):
    shape = grid.blocks(size), grid.blocks(size)
    windows = Windows.over_blocks(Cells(keys_of("a", *shape) + keys_of("b", *shape)), grid)
    inside = np.array([random.random() < 0.2 for _ in range(len(windows))])
    apart = windows.disjoint_from(inside)
    seen = set(windows.block_rows[inside].ravel())
    for mine, blocks in zip(apart, windows.block_rows, strict=True):
        assert mine == (not seen & set(blocks.ravel()))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two pictures, in which no two cells are the same."""
    folder = tmp_path_factory.mktemp("windows")
    for name in ("a", "b"):
        write(folder / "images" / f"{name}.tif", random_pixels(ord(name), 3, 90, 120))
        write(folder / "masks" / f"{name}.tif", random_classes(0, 2, 90, 120)[None].astype("uint8"))
    fields = ("classes=land,water", "window=12", "stride=6", "validation=0")
    build("geotiff_masks/windows", folder / "data", manual_dir=folder, fields=fields)
    return open_dataset("geotiff_masks/windows", folder / "data")


def pixels_of(source):
    """The cells that the windows of a source show, as they would be found by their pixels."""
    images = [source[position]["image"] for position in range(len(source))]
    parts = (image[y : y + 6, x : x + 6] for image in images for y in (0, 6) for x in (0, 6))
    return {part.tobytes() for part in parts}


@pytest.mark.parametrize("share", ["1%", "10%"])
def test_the_rest_of_a_split_shares_no_pixel_with_the_part(dataset, share):
    part, rest = (
        select_subset(dataset, f"train[{share}]{side}").examples for side in ("", ".rest")
    )
    assert len(part) == round(0.01 * int(share[:-1]) * len(select_subset(dataset, "train")))
    assert len(rest) > len(part)
    assert not pixels_of(part) & pixels_of(rest)
    assert len(pixels_of(select_subset(dataset, "train").examples)) == 2 * 15 * 20


def test_cuts_within_a_side_share_no_pixel_either_and_stay_in_it(dataset):
    side = set(select_subset(dataset, "train[10%]").examples.example_ids())
    for whole in ("train[10%]", "train[10%].rest"):
        part, rest = (
            select_subset(dataset, f"{whole}[5%]{side}").examples for side in ("", ".rest")
        )
        assert not pixels_of(part) & pixels_of(rest)
        for source in (part, rest):
            assert len(source)
            assert (set(source.example_ids()) <= side) is (whole == "train[10%]")


def test_a_cut_of_pictures_leaves_each_picture_whole(dataset):
    part, rest = (
        select_subset(dataset, f"train[5:5 of images]{side}").examples for side in ("", ".rest")
    )
    (one,), (other,) = ({name[:1] for name in s.example_ids()} for s in (part, rest))
    assert {one, other} == {b"a", b"b"}
    assert len(part) == len(rest) == len(select_subset(dataset, "train")) / 2


def test_windows_survive_the_way_to_another_process(dataset):
    source = select_subset(dataset, "train[50%]", seed=3).examples
    again = pickle.loads(pickle.dumps(source))
    for name, value in source[5].items():
        np.testing.assert_array_equal(again[5][name], value)


def test_windows_have_no_flags(dataset):
    with pytest.raises(UserError, match="has no yes/no feature 'snow'"):
        select_subset(dataset, "train[not snow]")


@pytest.fixture(scope="module")
def odd_sizes(tmp_path_factory):
    """Pictures whose sides are no multiples of cells of 6 pixels, one smaller than a window."""
    folder = tmp_path_factory.mktemp("odd_sizes")
    for name, size in SIZES.items():
        write(folder / "images" / f"{name}.tif", random_pixels(ord(name), 3, *size))
        classes = random_classes(ord(name), 2, *size, block=3)
        write(folder / "masks" / f"{name}.tif", classes[None].astype("uint8"))
    fields = ("classes=land,water", "window=12", "stride=6", "validation=0")
    build("geotiff_masks/odd", folder / "data", manual_dir=folder, fields=fields)
    return open_dataset("geotiff_masks/odd", folder / "data")


SIZES = {"a": (50, 31), "b": (5, 40), "c": (24, 24), "d": (13, 7)}


def original(name):
    pixels = np.moveaxis(random_pixels(ord(name), 3, *SIZES[name]), 0, -1)
    return pixels, random_classes(ord(name), 2, *SIZES[name], block=3)


def test_pictures_are_whole_and_end_where_they_did(odd_sizes):
    images = select_subset(odd_sizes, "train").images()
    assert [(p.height, p.width) for p in images] == list(SIZES.values())
    for picture, name in zip(images, SIZES, strict=True):
        record = picture.read(0, 0, picture.height, picture.width)
        image, mask = original(name)
        np.testing.assert_array_equal(record["image"], image)
        np.testing.assert_array_equal(record["mask"], mask)


@given(st.integers(0, 49), st.integers(0, 30), st.data())
@settings(max_examples=40)
def test_any_window_of_a_picture_can_be_read(odd_sizes, top, left, data):
    height, width = data.draw(st.integers(1, 50 - top)), data.draw(st.integers(1, 31 - left))
    picture = select_subset(odd_sizes, "train").images()[0]
    record = picture.read(top, left, height, width)
    here = slice(top, top + height), slice(left, left + width)
    for found, expected in zip((record["image"], record["mask"]), original("a"), strict=True):
        np.testing.assert_array_equal(found, expected[here])
    assert picture.wanted(top, left, height, width)


def test_pictures_of_a_part_have_the_labels_that_its_windows_see(dataset):
    labelled = []
    for part in ("train[10%]", "train[10%].rest"):
        seen = pixels_of(select_subset(dataset, part).examples)
        masks = []
        for picture in select_subset(dataset, part).images():
            record = picture.read(0, 0, picture.height, picture.width)
            for y in range(0, picture.height, 6):
                for x in range(0, picture.width, 6):
                    block = np.s_[y : y + 6, x : x + 6]
                    inside = record["image"][block].tobytes() in seen
                    assert picture.wanted(y, x, 6, 6) == inside
                    assert (record["mask"][block] != 255).all() == inside
                    assert (record["mask"][block] != 255).any() == inside
            masks.append(record["mask"] != 255)
        labelled.append(np.stack(masks))
    assert not (labelled[0] & labelled[1]).any()
    assert labelled[0].any()


def test_pictures_of_which_a_part_has_no_window_are_left_out(dataset):
    one = select_subset(dataset, "train[0.2%]").examples
    assert len(one) == 1
    (picture,) = select_subset(dataset, "train[0.2%]").images()
    mask = picture.read(0, 0, picture.height, picture.width)["mask"]
    assert (mask != 255).sum() == 12 * 12
    np.testing.assert_array_equal(mask[mask != 255].reshape(12, 12), one[0]["mask"])


def test_bands_asked_for_are_those_of_pictures(odd_sizes):
    two = open_dataset(odd_sizes.name, Path(odd_sizes.info.data_dir).parents[2], ("blue", "red"))
    image = select_subset(two, "train").images()[0].read(1, 2, 9, 20)["image"]
    np.testing.assert_array_equal(image, original("a")[0][1:10, 2:22, [2, 0]])


def test_where_records_are_no_cells_each_is_a_picture(data_dir):
    aerial = open_dataset("demo_aerial/tiny", data_dir)
    source, images = (
        select_subset(aerial, "test[50%]").examples,
        select_subset(aerial, "test[50%]").images(),
    )
    assert len(source) == len(images) == 4
    for record, picture in zip((source[i] for i in range(4)), images, strict=True):
        assert (picture.height, picture.width) == (64, 64)
        part = picture.read(7, 30, 20, 34)
        np.testing.assert_array_equal(part["image"], record["image"][7:27, 30:])
        np.testing.assert_array_equal(part["mask"], record["mask"][7:27, 30:])


def test_examples_without_masks_are_no_pictures(data_dir):
    with pytest.raises(UserError, match="have target 'label'; expected 'mask' of pictures"):
        select_subset(open_dataset("demo_scenes/tiny", data_dir), "all").images()
