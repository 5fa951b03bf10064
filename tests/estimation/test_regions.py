"""Regions: names, systems and borders."""

import json

import numpy as np
import pytest
from pyproj import Transformer
from rasterio import Affine
from rasterio.crs import CRS

from data_pipelines.errors import UserError
from data_pipelines.imagery.georeferences import NO_PLACE, Georeference
from ssl_jax.estimation.regions import read_regions

PLACE = Georeference(CRS.from_epsg(32632), Affine(10, 0, 600_000, 0, -10, 5_400_000))


def write(path, *boxes, properties=("name",), kind="Polygon"):
    """Write boxes of (left, top, right, bottom) pixels of the map in longitude and latitude."""
    to_degrees = Transformer.from_crs(32632, 4326, always_xy=True)
    features = []
    for index, (left, top, right, bottom) in enumerate(boxes):
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        ring = [to_degrees.transform(600_000 + 10 * x, 5_400_000 - 10 * y) for x, y in corners]
        geometry = {"type": kind, "coordinates": [ring]}
        named = {key: f"{key} {index}" for key in properties}
        features.append({"type": "Feature", "properties": named, "geometry": geometry})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_pixels_belong_to_the_region_of_their_middle(tmp_path):
    boxes = (2.4, 3.4, 10.6, 8.6), (10.6, 3.4, 15, 8.6)
    regions = read_regions(write(tmp_path / "r.json", *boxes), PLACE)
    assert regions.names == ("name 0", "name 1")
    expected = np.zeros((20, 30), int)
    expected[3:9, 2:11] = 1
    expected[3:9, 11:15] = 2
    watch = regions.watch_overlaps()
    parts = [regions.number_rows(top, (4, 30), watch) for top in range(0, 20, 4)]
    assert np.array_equal(np.concatenate(parts), expected)
    watch.check()
    rows, columns = np.mgrid[:20, :30]
    found = regions.locate(rows.ravel(), columns.ravel())
    assert np.array_equal(found.reshape(20, 30), expected)
    copy = regions.of_json(json.loads(json.dumps(regions.to_json())), "r", PLACE.transform)
    assert np.array_equal(copy.number_rows(0, (20, 30)), expected)


@pytest.mark.parametrize(
    ("right", "shared", "is_refused"), [(1000.4, 0, False), (1001, 1000, False), (1003, 3000, True)]
)
def test_slivers_are_no_overlap_but_more_is(tmp_path, right, shared, is_refused):
    boxes = (0, 0, right, 1000), (1000, 0, 2000, 1000)
    regions = read_regions(write(tmp_path / "r.json", *boxes), PLACE)
    watch = regions.watch_overlaps()
    regions.number_rows(0, (1000, 2000), watch)
    assert sum(watch.shared.values()) == pytest.approx(shared, abs=10)
    if is_refused:
        with pytest.raises(UserError, match=r"name 0 and name 1 overlap in 3\d\d\d pixels"):
            watch.check()
    else:
        watch.check()


def test_a_property_can_have_the_name(tmp_path):
    path = write(tmp_path / "r.json", (0, 0, 5, 5), properties=("name", "district"))
    assert read_regions(path, PLACE, "district").names == ("district 0",)
    with pytest.raises(UserError, match="has no property 'town'; expected one of name, district"):
        read_regions(path, PLACE, "town")


def test_what_is_no_region_is_refused(tmp_path):
    path = write(tmp_path / "r.json", (0, 0, 5, 5))
    with pytest.raises(UserError, match="doesn't say where it is"):
        read_regions(path, NO_PLACE)
    path = write(tmp_path / "r.json", (0, 0, 5, 5), kind="Point")
    with pytest.raises(UserError, match="other than polygons"):
        read_regions(path, PLACE)
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="isn't GeoJSON"):
        read_regions(path, PLACE)
    with pytest.raises(UserError, match="can't be read"):
        read_regions(tmp_path / "nothing.json", PLACE)
