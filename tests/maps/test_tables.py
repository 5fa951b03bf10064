"""Tables of areas and pictures of maps."""

import csv
import json

import numpy as np
import pytest
from image_mask_files import write
from PIL import Image
from rasterio import Affine

from data_pipelines.errors import UserError
from ssl_jax.maps.layers import make_class_layer
from ssl_jax.maps.quicklook import write_quicklook
from ssl_jax.maps.tables import measure_classes, write_areas

LAYER = make_class_layer(["water", "meadow, wet", "unseen"], [(0, 0, 255), (0, 200, 0), (9, 9, 9)])
UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5.9e6)}


def write_map(folder, **place):
    classes = np.zeros((1, 700, 900), np.uint8)
    classes[:, :, 300:] = 1
    classes[:, :70] = 255
    return write(folder / "classes.tif", classes, nodata=255, tiled=True, **place)


def test_areas_are_written_as_a_table_and_as_json(tmp_path):
    areas = measure_classes(write_map(tmp_path, **UTM), LAYER.categories)
    write_areas(tmp_path, areas)
    rows = list(csv.DictReader((tmp_path / "areas.csv").open()))
    assert [row["class"] for row in rows] == [*LAYER.categories, "no data"]
    assert [int(row["pixels"]) for row in rows] == [189_000, 378_000, 0, 63_000]
    # At the central meridian of UTM, map areas are too small by 2 · 0.0004.
    assert float(rows[0]["hectares"]) == pytest.approx(1890 / 0.9996**2, rel=1e-5)
    assert [float(row["percent"]) for row in rows[:3]] == pytest.approx(
        [33.333, 66.667, 0], abs=1e-3
    )
    content = json.loads((tmp_path / "areas.json").read_text())
    assert content["no_data"]["percent"] == pytest.approx(10, abs=1e-3)
    total = sum(row["hectares"] for row in (*content["classes"], content["no_data"]))
    assert total == pytest.approx(6300 / 0.9996**2, rel=1e-5)


def test_a_map_without_place_has_pixels_and_shares_only(tmp_path):
    areas = measure_classes(write_map(tmp_path), LAYER.categories)
    assert not areas.is_placed
    write_areas(tmp_path, areas)
    rows = list(csv.DictReader((tmp_path / "areas.csv").open()))
    assert {row["hectares"] for row in rows} == {""}
    assert float(rows[1]["percent"]) == pytest.approx(66.667, abs=1e-3)
    assert json.loads((tmp_path / "areas.json").read_text())["classes"][0]["hectares"] is None


def test_a_map_without_data_has_no_shares(tmp_path):
    path = write(tmp_path / "a.tif", np.full((1, 5, 5), 255, np.uint8), **UTM)
    areas = measure_classes(path, LAYER.categories)
    assert [row.percent for row in areas.classes] == [0, 0, 0]
    assert areas.nodata.percent == 100


def test_numbers_of_no_class_are_refused(tmp_path):
    path = write_map(tmp_path, **UTM)
    with pytest.raises(UserError, match="holds the number 1; expected those of 1 classes, from 0"):
        measure_classes(path, ["water"])


def test_a_folder_that_is_a_file_can_not_be_written(tmp_path):
    areas = measure_classes(write_map(tmp_path, **UTM), LAYER.categories)
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="out: can't be written"):
        write_areas(tmp_path / "out", areas)


def draw(folder, **place):
    path = write_map(folder, **place)
    areas = measure_classes(path, LAYER.categories)
    write_quicklook(folder / "quicklook.png", path, LAYER, areas, "a scene")
    return np.asarray(Image.open(folder / "quicklook.png"))


def test_a_quicklook_shows_the_map_and_its_legend(tmp_path):
    pixels = draw(tmp_path, **UTM)
    picture = pixels[12 : 12 + 700, 12 : 12 + 900]
    assert (picture[100, 200] == (0, 0, 255)).all()
    assert (picture[100, 400] == (0, 200, 0)).all()
    assert (picture[10, 400] == (225, 225, 225)).all()
    legend = pixels[:, 12 + 900 + 12 :].reshape(-1, 3)
    for colour in (*LAYER.colours, (30, 30, 30)):
        assert (legend == colour).all(axis=1).sum() > 300


def test_a_quicklook_of_an_image_with_its_south_on_top_is_turned(tmp_path):
    pixels = draw(tmp_path, crs="EPSG:32632", transform=Affine(10, 0, 5e5, 0, 10, 5.9e6))
    assert (pixels[12 + 690, 12 + 400] == (225, 225, 225)).all()
    assert (pixels[12 + 10, 12 + 400] == (0, 200, 0)).all()


def test_a_quicklook_has_square_pixels_on_the_ground(tmp_path):
    pixels = draw(tmp_path, crs="EPSG:4326", transform=Affine(1e-4, 0, 10, 0, -1e-4, 60))
    is_map = (pixels == (0, 0, 255)).all(axis=2) | (pixels == (0, 200, 0)).all(axis=2)
    columns = np.flatnonzero(is_map[400])
    rows = np.flatnonzero(is_map[:, 100])
    width = columns[columns < 12 + 900].max() - columns.min() + 1
    assert width / (rows.max() - rows.min() + 1) == pytest.approx(900 / 630 * 0.502, rel=0.02)


@pytest.mark.parametrize("place", [{}, UTM])
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (31, 700)])
def test_a_quicklook_of_any_size_is_drawn(size, place, tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((1, *size), np.uint8), nodata=255, **place)
    areas = measure_classes(path, LAYER.categories)
    write_quicklook(tmp_path / "q.png", path, LAYER, areas, "a long title " * 9)
    height, width = np.asarray(Image.open(tmp_path / "q.png")).shape[:2]
    assert 100 < height < 1500
    assert 480 < width < 2000
