"""Areas of pixels, against pyproj's areas of geodesic polygons."""

import numpy as np
import pytest
import rasterio
from pyproj import Geod, Transformer
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import Resampling, calculate_default_transform, reproject

from data_pipelines.imagery.georeferences import NO_PLACE, Georeference
from ssl_jax.maps.areas import measure_areas
from ssl_jax.maps.layers import make_class_layer
from ssl_jax.maps.tables import measure_classes

GEOD = Geod(ellps="WGS84")
SIZE = (640, 900)
SHAPES = {
    "north-up": Affine.scale(1, -1),
    "south-up": Affine.scale(1, 1),
    "rotated": Affine.rotation(33) * Affine.scale(1, -1),
    "not square": Affine.scale(1.7, -0.4),
}


def place(epsg, latitude, side, shape="north-up", longitude=10.9):
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    transform = Affine.translation(x, y) * Affine.scale(side) * SHAPES[shape]
    return Georeference(CRS.from_epsg(epsg), transform)


def polygon_hectares(epsg, georeference, columns, rows):
    """Return the area of a polygon of an image, whose corners are joined by geodesics."""
    x, y = georeference.coordinates(columns, rows)
    longitude, latitude = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x, y)
    return abs(GEOD.polygon_area_perimeter(longitude, latitude)[0]) / 10_000


def outline(height, width, points=200):
    edge = np.linspace(0, 1, points)
    zero, one = 0 * edge, 0 * edge + 1
    columns = np.concatenate([edge, one, edge[::-1], zero]) * width
    return columns, np.concatenate([zero, edge, one, edge[::-1]]) * height


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("latitude", [0, 35, 70])
@pytest.mark.parametrize("epsg", [4326, 32632, 3857])
def test_areas_are_those_of_geodesic_polygons(epsg, latitude, shape):
    georeference = place(epsg, latitude, 2.7e-4 if epsg == 4326 else 30, shape)
    areas = measure_areas(georeference, SIZE)
    pixels = areas.measure_rows(0, SIZE[0])
    assert pixels.shape == SIZE
    whole = polygon_hectares(epsg, georeference, *outline(*SIZE))
    assert pixels.sum() == pytest.approx(whole, rel=1e-5)
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, SIZE[0], 25), rng.integers(0, SIZE[1], 25), strict=True):
        corners = [column, column + 1, column + 1, column], [row, row, row + 1, row + 1]
        one = polygon_hectares(epsg, georeference, *map(np.array, corners))
        assert pixels[row, column] == pytest.approx(one, rel=2e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (31, 1), (127, 131)])
def test_rasters_of_any_size_are_measured(size):
    georeference = place(32632, 48, 10, "rotated")
    found = measure_areas(georeference, size).measure_rows(0, size[0]).sum()
    assert found == pytest.approx(polygon_hectares(32632, georeference, *outline(*size)), rel=1e-5)


@pytest.mark.parametrize("epsg", [4326, 32632, 3857])
def test_areas_of_classes_are_sums_over_their_pixels(epsg):
    georeference = place(epsg, 68, 2.7e-4 if epsg == 4326 else 30, "rotated")
    areas = measure_areas(georeference, SIZE)
    classes = np.random.default_rng(0).integers(0, 4, SIZE).astype(np.uint8)
    pixels = areas.measure_rows(0, SIZE[0])
    totals = np.zeros((2, 256))
    for top in (0, 3, 200):  # parts that don't end where cells end
        rows = classes[top : {0: 3, 3: 200, 200: 640}[top]]
        areas.add_classes(rows, top, totals)
        np.testing.assert_array_equal(areas.measure_rows(top, len(rows)), pixels[top:][: len(rows)])
    for number in range(4):
        assert totals[0, number] == (classes == number).sum()
        assert totals[1, number] == pytest.approx(pixels[classes == number].sum(), rel=1e-12)
    assert not totals[:, 4:].any()


def test_control_points_place_areas():
    transform = place(32632, 48, 10, "rotated")
    points = [(r, c) for r in (0, 300, 640) for c in (0, 450, 900)]
    gcps = tuple((r, c, *(transform.transform * (c, r)), 0.0) for r, c in points)
    found = measure_areas(Georeference(transform.crs, None, gcps), SIZE)
    expected = measure_areas(transform, SIZE).measure_rows(0, SIZE[0])
    np.testing.assert_allclose(found.measure_rows(0, SIZE[0]), expected, rtol=1e-6)


def test_the_earth_has_510_million_square_kilometres():
    for side in (0.25, 3.0):
        size = (round(180 / side), round(360 / side))
        whole = Georeference(CRS.from_epsg(4326), Affine(side, 0, -180, 0, -side, 90))
        total = measure_areas(whole, size).measure_rows(0, size[0]).sum()
        assert total * 1e4 == pytest.approx(510_065_621_724_088.4, rel=1e-12)  # GeographicLib's


def test_pixels_at_the_pole_over_the_date_line_and_off_the_earth_are_measured():
    polar = Georeference(CRS.from_epsg(3413), Affine(1000, 0, -2e5, 0, -1000, 2e5))
    total = measure_areas(polar, (400, 400)).measure_rows(0, 400).sum()
    assert total == pytest.approx(polygon_hectares(3413, polar, *outline(400, 400)), rel=1e-4)
    fiji = place(3857, -17, 100, longitude=179.7)
    total = measure_areas(fiji, SIZE).measure_rows(0, SIZE[0]).sum()
    assert total == pytest.approx(polygon_hectares(3857, fiji, *outline(*SIZE)), rel=1e-5)
    mollweide = Georeference(CRS.from_string("ESRI:54009"), Affine(2e5, 0, -1.8e7, 0, -2e5, 9e6))
    areas = measure_areas(mollweide, (90, 180)).measure_rows(0, 90)
    assert areas[0, 0] == 0
    assert areas.max() == pytest.approx(4e6, rel=0.01)  # of equal area on a sphere
    assert areas.sum() * 1e4 == pytest.approx(5.1e14, rel=0.03)


def test_what_has_no_place_has_no_areas():
    assert measure_areas(NO_PLACE, (5, 5)) is None
    assert measure_areas(Georeference(CRS.from_epsg(32632)), (5, 5)) is None


def test_a_map_has_the_same_hectares_in_every_system(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 5, (12, 15)).astype(np.uint8)
    classes = coarse.repeat(50, 0).repeat(50, 1)
    source = place(32632, 66, 30, longitude=13.5)
    found = {}
    for epsg in (32632, 4326, 3857):
        crs = CRS.from_epsg(epsg)
        bounds = rasterio.transform.array_bounds(*classes.shape, source.transform)
        transform, width, height = calculate_default_transform(
            source.crs, crs, classes.shape[1], classes.shape[0], *bounds
        )
        # Finer pixels than the map's, so that the edges of classes are where they were.
        transform, width, height = transform * Affine.scale(0.5), 2 * width, 2 * height
        warped = np.full((height, width), 255, np.uint8)
        reproject(
            classes, warped, src_transform=source.transform, src_crs=source.crs, dst_nodata=255,
            dst_transform=transform, dst_crs=crs, resampling=Resampling.nearest, src_nodata=255,
        )  # fmt: skip
        path = tmp_path / f"{epsg}.tif"
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255}
        with rasterio.open(path, "w", **profile, height=height, width=width, crs=crs,
                           transform=transform) as raster:  # fmt: skip
            raster.write(warped, 1)
        rows = measure_classes(path, make_class_layer(list("abcde")).categories).classes
        found[epsg] = np.array([row.hectares for row in rows])
    np.testing.assert_allclose(found[4326], found[32632], rtol=0.005)
    np.testing.assert_allclose(found[3857], found[32632], rtol=0.005)
