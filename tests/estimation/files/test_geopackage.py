"""GeoPackages, opened by GDAL where its vector drivers are installed."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from rasterio.crs import CRS

from data_pipelines.errors import UserError
from ssl_jax.estimation.files.geopackage import read_table, write_points

COLUMNS = {"id": ["07", "é"], "height": [1.5, -2.0], "reference": ["", ""]}
X, Y = [600_000.5, 610_000.0], [5_400_000.25, 5_390_000.0]
# A system without an EPSG code.
LOCAL = CRS.from_proj4("+proj=laea +lat_0=12.3 +lon_0=4.5 +datum=WGS84 +units=m")


@pytest.mark.parametrize("crs", [CRS.from_epsg(32632), CRS.from_epsg(4326), LOCAL, None])
def test_gdal_reads_points_as_they_were_written(tmp_path, crs):
    raw = pytest.importorskip("pyogrio.raw")
    path = tmp_path / "points.gpkg"
    write_points(path, "sample", crs, X, Y, COLUMNS)
    meta, _, geometries, fields = raw.read(path)
    assert meta["geometry_type"] == "Point"
    assert dict(zip(meta["fields"], map(list, fields), strict=True)) == COLUMNS
    points = [np.frombuffer(geometry[5:], "<f8").tolist() for geometry in geometries]
    assert points == [[X[0], Y[0]], [X[1], Y[1]]]
    if crs is None:
        assert "undefined" in str(meta["crs"]).casefold()
    else:
        assert CRS.from_user_input(meta["crs"]) == crs


def test_gdal_adds_nothing_to_what_it_edits(tmp_path):
    """A reference that is filled in as QGIS does, by SQL on the layer, is read back."""
    path = tmp_path / "points.gpkg"
    write_points(path, "sample", CRS.from_epsg(4326), X, Y, COLUMNS)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE sample SET reference = 'forest' WHERE id = 'é'")
        database.execute("UPDATE sample SET reference = NULL WHERE id = '07'")
        database.commit()
    rows = read_table(path)
    assert [(row["id"], row["reference"]) for row in rows] == [("07", ""), ("é", "forest")]


def test_the_tables_are_those_of_the_standard(tmp_path):
    path = tmp_path / "points.gpkg"
    write_points(path, "sample", CRS.from_epsg(32632), X, Y, COLUMNS)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone()[0] == 0x47504B47
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        systems = database.execute("SELECT srs_id FROM gpkg_spatial_ref_sys").fetchall()
        assert {-1, 0, 4326, 32632} == {number for (number,) in systems}
        bounds = database.execute("SELECT min_x, max_y FROM gpkg_contents").fetchone()
        assert bounds == (min(X), max(Y))


def test_what_is_no_geopackage_is_refused(tmp_path):
    path = tmp_path / "points.gpkg"
    path.write_text("nothing of the kind, and long enough to be looked at" * 20)
    with pytest.raises(UserError, match="can't be read as GeoPackage"):
        read_table(path)
