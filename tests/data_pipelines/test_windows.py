import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_pictures import random_classes, random_pixels, write

from data_pipelines.build import build
from data_pipelines.errors import UserError
from data_pipelines.source import open_dataset
from data_pipelines.windows import Grid, Windows


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
    return Grid.of(window, draw(st.integers(1, window)))


@given(grids(), st.integers(1, 500))
def test_windows_see_every_pixel_and_none_is_superfluous(grid, size):
    window, stride = grid.window * grid.cell, grid.stride * grid.cell
    count = grid.count(size)
    seen = [range(number * stride, number * stride + window) for number in range(count)]
    assert set(range(size)) <= set().union(*seen)
    assert count == 1 or seen[-2].stop < size


@given(grids(), st.integers(1, 500))
def test_cells_are_those_that_the_windows_take(grid, size):
    cells = grid.cells(size)
    assert cells * grid.cell >= size
    assert (cells - grid.window) % grid.stride == 0
    assert (cells - grid.window) // grid.stride + 1 == grid.count(size)


@given(grids())
def test_cells_are_as_large_as_window_and_stride_allow(grid):
    assert np.gcd(grid.window, grid.stride) == 1
    assert Grid.from_dict(grid.to_dict()) == grid


def test_600_pixels_every_300_are_19_windows_over_6000():
    grid = Grid.of(600, 300)
    assert grid == (300, 2, 1)
    assert (grid.count(6000), grid.cells(6000)) == (19, 20)
    assert (grid.count(600), grid.cells(600)) == (1, 2)
    assert (grid.count(601), grid.cells(601)) == (2, 3)
    assert (grid.count(1), grid.cells(1)) == (1, 2)


@settings(max_examples=30)
@given(grids(), st.integers(1, 80), st.integers(1, 80))
def test_a_window_holds_the_cells_of_its_place(grid, height, width):
    shape = grid.cells(height), grid.cells(width)
    cells = Cells(keys_of("a/b", *shape) + keys_of("c", *shape))
    windows = Windows.over(cells, grid)
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
        assert windows.identities()[position] == name


def test_the_order_of_cells_does_not_matter():
    keys = keys_of("a", 4, 5)
    shuffled = [keys[n] for n in np.random.default_rng(0).permutation(len(keys))]
    windows = Windows.over(Cells(shuffled), Grid(1, 2, 1))
    for key, cell in zip(windows.identities(), windows.cell_rows[:, 0, 0], strict=True):
        assert shuffled[cell] == key


def test_a_missing_cell_is_told_with_its_picture():
    keys = keys_of("a", 3, 3) + keys_of("town/b", 3, 4)
    keys.remove(b"town/b/0001/0002")
    with pytest.raises(UserError, match=r"picture town/b: has 11 cells; expected 3 × 4"):
        Windows.over(Cells(keys), Grid(1, 2, 1))


@pytest.mark.parametrize("key", [b"a", b"a/1", b"/1/2", 7])
def test_a_record_that_is_no_cell_is_refused(key):
    with pytest.raises(UserError, match="is no cell of a picture; expected a key PICTURE/ROW/COL"):
        Windows.over(Cells([key]), Grid(1, 1, 1))


@settings(max_examples=30)
@given(grids(), st.integers(1, 80), st.randoms())
def test_windows_apart_share_no_cell_and_all_others_share_one(grid, size, random):
    shape = grid.cells(size), grid.cells(size)
    windows = Windows.over(Cells(keys_of("a", *shape) + keys_of("b", *shape)), grid)
    inside = np.array([random.random() < 0.2 for _ in range(len(windows))])
    apart = windows.apart_from(inside)
    seen = set(windows.cell_rows[inside].ravel())
    for mine, cells in zip(apart, windows.cell_rows, strict=True):
        assert mine == (not seen & set(cells.ravel()))


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
    part, rest = dataset.source(f"train[{share}]"), dataset.source(f"train[{share}].rest")
    assert len(part) == round(0.01 * int(share[:-1]) * len(dataset.source("train")))
    assert len(rest) > len(part)
    assert not pixels_of(part) & pixels_of(rest)
    assert len(pixels_of(dataset.source("train"))) == 2 * 15 * 20


def test_windows_survive_the_way_to_another_process(dataset):
    source = dataset.source("train[50%]", seed=3)
    again = pickle.loads(pickle.dumps(source))
    for name, value in source[5].items():
        np.testing.assert_array_equal(again[5][name], value)


def test_windows_have_no_flags(dataset):
    with pytest.raises(UserError, match="has no yes/no feature 'snow'"):
        dataset.source("train[not snow]")
