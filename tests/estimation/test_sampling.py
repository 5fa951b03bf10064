"""Allocation of places, and what is drawn."""

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine

from data_pipelines.errors import UserError
from ssl_jax.estimation.classified import count_cells, open_map
from ssl_jax.estimation.files.sample import make_strata
from ssl_jax.estimation.regions import NO_REGIONS
from ssl_jax.estimation.sampling import StrataTable, allocate, draw_places


def table(areas, pixels=None):
    areas = np.asarray(areas, float)
    pixels = np.full(len(areas), 10**6) if pixels is None else np.asarray(pixels)
    return StrataTable(np.arange(len(areas)), np.zeros(len(areas), int), pixels, areas)


def test_allocations_are_those_of_the_textbook():
    """Cochran 1977, equations 5.25 and 5.26: n_h ∝ W_h and ∝ W_h S_h."""
    strata = table([0.1, 0.3, 0.6])
    assert allocate(strata, 1000, "proportional", 2, {}).tolist() == [100, 300, 600]
    assert allocate(strata, 999, "equal", 2, {}).tolist() == [333, 333, 333]
    accuracies = {0: 0.5, 1: 0.9, 2: 0.98}
    wanted = np.array([0.1, 0.3, 0.6]) * np.sqrt([0.25, 0.09, 0.98 * 0.02])
    sizes = allocate(strata, 1000, "neyman", 2, accuracies)
    assert sizes == pytest.approx(1000 * wanted / wanted.sum(), abs=1)


def test_a_minimum_takes_from_the_large():
    sizes = allocate(table([0.005, 0.095, 0.9]), 200, "proportional", 50, {})
    assert sizes.tolist() == [50, 50, 100]
    with pytest.raises(UserError, match="need 150"):
        allocate(table([0.005, 0.095, 0.9]), 149, "proportional", 50, {})


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_numbers_add_up_between_minimum_and_pixels(data):
    count = data.draw(st.integers(1, 6))
    areas = data.draw(st.lists(st.floats(1e-3, 1e3), min_size=count, max_size=count))
    pixels = np.array(data.draw(st.lists(st.integers(1, 300), min_size=count, max_size=count)))
    minimum, extra = data.draw(st.integers(2, 20)), data.draw(st.integers(0, 300))
    least = np.minimum(minimum, pixels)
    samples = int(least.sum()) + extra
    kind = data.draw(st.sampled_from(["proportional", "equal", "neyman"]))
    accuracies = {i: data.draw(st.floats(0, 1)) for i in range(count)}
    sizes = allocate(table(areas, pixels), samples, kind, minimum, accuracies)
    assert (sizes >= least).all()
    assert (sizes <= pixels).all()
    assert sizes.sum() == min(samples, pixels.sum())


def write_degrees(path, classes, top=80.0, side=0.05):
    height, width = classes.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype="uint8", height=height, width=width,
        crs="EPSG:4326", transform=Affine(side, 0, 10, 0, -side, top),
    ) as raster:  # fmt: skip
        raster.write(classes.astype(np.uint8), 1)
    return open_map(path, {})


def test_each_pixel_is_drawn_by_its_area(tmp_path):
    """The mean row over many draws is the mean weighted by area."""
    class_map = write_degrees(tmp_path / "map.tif", np.zeros((160, 10)), side=0.5)
    strata = make_strata(count_cells(class_map, NO_REGIONS), NO_REGIONS)
    weights = class_map.areas.measure_rows(0, 160)[:, 0]
    draws, size = 60, 40
    rows = [
        draw_places(class_map, NO_REGIONS, strata, np.array([size]), seed).rows
        for seed in range(draws)
    ]
    mean = (weights * np.arange(160)).sum() / weights.sum()
    spread = np.sqrt((weights * (np.arange(160) - mean) ** 2).sum() / weights.sum())
    error = spread / np.sqrt(draws * size)
    assert abs(mean - 79.5) > 10 * error  # of a draw that takes all pixels for equal
    assert np.mean(rows) == pytest.approx(mean, abs=4 * error)


@pytest.mark.parametrize("size", [40, 399, 401, 1600])
def test_no_pixel_is_drawn_twice(tmp_path, size):
    class_map = write_degrees(tmp_path / "map.tif", np.zeros((160, 10)), side=0.5)
    strata = make_strata(count_cells(class_map, NO_REGIONS), NO_REGIONS)
    places = draw_places(class_map, NO_REGIONS, strata, np.array([size]), 0)
    assert len(set(zip(places.rows, places.columns, strict=True))) == size


def test_all_pixels_of_a_small_stratum_can_be_drawn(tmp_path):
    classes = np.zeros((50, 40))
    classes[7, 3:9] = 1
    class_map = write_degrees(tmp_path / "map.tif", classes)
    strata = make_strata(count_cells(class_map, NO_REGIONS), NO_REGIONS)
    sizes = allocate(strata, 100, "proportional", 30, {})
    assert sizes.tolist() == [94, 6]
    places = draw_places(class_map, NO_REGIONS, strata, sizes, 0)
    drawn = sorted(zip(places.rows[places.strata == 1], places.columns[places.strata == 1],
                       strict=True))  # fmt: skip
    assert drawn == [(7, column) for column in range(3, 9)]
    pixels = list(zip(places.rows, places.columns, strict=True))
    assert len(set(pixels)) == 100
    assert len(set(places.ids)) == 100
