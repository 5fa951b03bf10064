"""What places an image, against rasterio's own transforms and pyproj's geodesics."""

import numpy as np
import pytest
import rasterio
from image_mask_files import write
from pyproj import CRS, Geod, Transformer
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS as RasterioCRS

from data_pipelines.imagery.georeferences import NO_PLACE, Georeference

UTM = RasterioCRS.from_epsg(32632)
TRANSFORMS = {
    "north-up": Affine(10, 0, 500_000, 0, -10, 5_900_000),
    "south-up": Affine(10, 0, 500_000, 0, 10, 5_900_000),
    "rotated": Affine.translation(500_000, 5_900_000) * Affine.rotation(30) * Affine.scale(10, -10),
    "not square": Affine(12.5, 0, 500_000, 0, -3, 5_900_000),
}
POINTS = np.array([(0, 0), (3.5, 2), (40, 0.25), (40, 30)])


def geographic(epsg, x, y):
    return Transformer.from_crs(CRS.from_epsg(epsg), 4326, always_xy=True).transform(x, y)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_points_lie_where_pyproj_says(transform):
    columns, rows = POINTS.T
    x, y = transform * (columns, rows)
    found = Georeference(UTM, transform).locate(columns, rows)
    np.testing.assert_allclose(found, geographic(32632, x, y), rtol=0, atol=1e-9)


def test_control_points_place_an_image_as_their_own_transform_does(tmp_path):
    transform = TRANSFORMS["rotated"]
    points = [GroundControlPoint(r, c, *(transform * (c, r))) for c, r in POINTS]
    path = write(tmp_path / "gcps.tif", np.ones((1, 30, 40), np.uint8), gcps=points, crs=UTM)
    with rasterio.open(path) as raster:
        found = Georeference.of(raster)
    assert (found.transform, found.crs, len(found.gcps)) == (None, UTM, 4)
    columns, rows = POINTS.T + 0.7
    expected = Georeference(UTM, transform).locate(columns, rows)
    np.testing.assert_allclose(found.locate(columns, rows), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("gcps", [False, True])
def test_a_resized_image_covers_the_same_place(gcps):
    place = Georeference(UTM, TRANSFORMS["rotated"])
    if gcps:
        points = [(r, c, *(place.transform * (c, r)), 0.0) for c, r in POINTS]
        place = Georeference(UTM, None, tuple(points))
    resized = place.resize((30, 40), (12, 80))
    corners, resized_corners = np.array([(0, 0), (40, 30)]), np.array([(0, 0), (80, 12)])
    np.testing.assert_allclose(
        resized.coordinates(*resized_corners.T), place.coordinates(*corners.T), atol=1e-6
    )


@pytest.mark.parametrize("epsg", [4326, 32632, 3857, 2263, 4807])
def test_pixels_are_as_large_as_pyproj_measures_them(epsg):
    longitude, latitude = (-73.9, 40.7) if epsg == 2263 else (9.2, 48.1)
    crs = RasterioCRS.from_epsg(epsg)
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    side = {4326: 1e-4, 4807: 1e-4}.get(epsg, 10)
    transform = Affine(side, 0, x - side, 0, -side, y + side)  # the middle of 2 × 2 pixels
    height, width = Georeference(crs, transform).measure_pixel((2, 2))
    geod = Geod(ellps="WGS84")
    edge = np.array([-side / 2, side / 2])
    across = geographic(epsg, x + edge, y + 0 * edge)
    down = geographic(epsg, x + 0 * edge, y + edge)
    assert width == pytest.approx(geod.line_length(*across), rel=1e-5)
    assert height == pytest.approx(geod.line_length(*down), rel=1e-5)


def test_what_is_nowhere_on_the_earth_has_no_size():
    local = RasterioCRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    places = (NO_PLACE, Georeference(UTM), Georeference(local, TRANSFORMS["north-up"]))
    assert [place.measure_pixel((5, 5)) for place in places] == [(0, 0)] * 3


def test_points_off_the_earth_are_nan_and_leave_the_others_alone():
    mollweide = RasterioCRS.from_string("ESRI:54009")
    place = Georeference(mollweide, Affine(1e5, 0, -2e7, 0, -1e5, 1e7))
    longitude, latitude = place.locate([0, 200, 200], [0, 100, 80])
    assert np.isnan(longitude).tolist() == [True, False, False]
    assert latitude[1] == pytest.approx(0, abs=1e-9)
