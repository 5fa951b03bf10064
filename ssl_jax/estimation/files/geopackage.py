"""Points in GeoPackage files (OGC 12-128r18), which QGIS opens and edits.

GDAL's vector drivers would take another hundred megabytes (pyogrio brings its own GDAL); a
GeoPackage is an SQLite database with a few tables that the standard prescribes.
"""

import sqlite3
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from data_pipelines.errors import UserError
from data_pipelines.files.writing import replace_when_written

__all__ = ["read_table", "write_points"]

_APPLICATION_ID = 0x47504B47  # "GPKG"
_VERSION = 10300
_LOCAL_SRS = 100_000  # number for a system that has no EPSG code
_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
  description TEXT DEFAULT '',
  last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (
  table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL,
  srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
  CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
INSERT INTO gpkg_spatial_ref_sys VALUES
  ('Undefined Cartesian', -1, 'NONE', -1, 'undefined', NULL),
  ('Undefined geographic', 0, 'NONE', 0, 'undefined', NULL);
"""


def write_points(
    path: Path,
    table: str,
    crs: Any,
    x: Sequence[float],
    y: Sequence[float],
    columns: Mapping[str, Sequence[str | float]],
) -> None:
    """Write points with attributes, atomically.

    Args:
        path: The file.
        table: Name of the layer.
        crs: Coordinate reference system of rasterio; None if there is none.
        x: (n,) coordinates.
        y: (n,) coordinates.
        columns: Attributes of the points by name: texts or numbers.
    """
    with replace_when_written(path) as temporary, closing(sqlite3.connect(temporary)) as database:
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_VERSION}")
        database.executescript(_TABLES)
        srs = _add_system(database, crs)
        kinds = {
            name: "TEXT" if isinstance(values[0], str) else "DOUBLE"
            for name, values in columns.items()
        }
        definitions = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
        database.execute(
            f'CREATE TABLE "{table}" '
            f"(fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POINT, {definitions})"
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, min_x, min_y, max_x, "
            "max_y, srs_id) VALUES (?, 'features', ?, ?, ?, ?, ?, ?)",
            (table, table, min(x), min(y), max(x), max(y), srs),
        )
        database.execute(
            "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'POINT', ?, 0, 0)", (table, srs)
        )
        names = ", ".join(f'"{name}"' for name in columns)
        database.executemany(
            f'INSERT INTO "{table}" (geom, {names}) VALUES (?{", ?" * len(columns)})',
            zip(map(_encode, x, y, [srs] * len(x)), *columns.values(), strict=True),
        )
        database.commit()


def _add_system(database: sqlite3.Connection, crs: Any) -> int:
    """Store a coordinate reference system and WGS 84, and return the number of the former."""
    from data_pipelines.imagery.georeferences import WGS84

    code = -1 if crs is None else crs.to_epsg() or _LOCAL_SRS
    systems = {4326: WGS84, **({} if crs is None else {code: crs})}
    for number, system in systems.items():
        organization, own = ("NONE", number) if number == _LOCAL_SRS else ("EPSG", number)
        database.execute(
            "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, NULL)",
            (f"{organization}:{own}", number, organization, own, system.to_wkt()),
        )
    return code


def _encode(x: float, y: float, srs: int) -> bytes:
    """Return a point as the standard stores it: a header, then well-known binary."""
    return struct.pack("<2sBBi", b"GP", 0, 1, srs) + struct.pack("<BIdd", 1, 1, x, y)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the attributes of the only layer of a GeoPackage, as texts; empty where NULL.

    Args:
        path: The file.

    Raises:
        UserError: If it isn't a GeoPackage with one layer.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            tables = database.execute(
                "SELECT table_name FROM gpkg_contents WHERE data_type IN ('features', 'attributes')"
            ).fetchall()
            if len(tables) != 1:
                raise UserError(
                    f"labels {path}: has {len(tables)} layers; expected 1: export it alone"
                )
            name = tables[0][0].replace('"', '""')
            rows = database.execute(f'SELECT * FROM "{name}"').fetchall()
    except sqlite3.Error as error:
        raise UserError(f"labels {path}: can't be read as GeoPackage ({error})") from error
    return [
        {key: "" if row[key] is None else str(row[key]) for key in row.keys()}  # noqa: SIM118
        for row in rows
    ]
