"""Areas of the classes of a map, as a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.rasters import bound_gdal_cache, open_raster
from data_pipelines.files.writing import write_json, write_text
from data_pipelines.imagery.georeferences import Georeference
from ssl_jax.maps.areas import measure_areas
from ssl_jax.maps.blocks import explain_write_error
from ssl_jax.maps.layers import NODATA

__all__ = ["ClassArea", "MapAreas", "measure_classes", "write_areas"]

_ROWS = 512


class ClassArea(NamedTuple):
    """The area of a class.

    Attributes:
        name: Name of the class.
        pixels: Number of its pixels.
        hectares: Their area on the ellipsoid; NaN if the map doesn't say where on the Earth it is.
        percent: Its share of the pixels with data, by area, or else by number.
    """

    name: str
    pixels: int
    hectares: float
    percent: float


class MapAreas(NamedTuple):
    """The areas of a map.

    Attributes:
        classes: Those of its classes.
        nodata: That of the pixels without data, whose share is of all pixels.
    """

    classes: tuple[ClassArea, ...]
    nodata: ClassArea

    @property
    def is_placed(self) -> bool:
        """Whether areas are known in hectares."""
        return not np.isnan(self.nodata.hectares)


def measure_classes(path: Path, classes: Sequence[str]) -> MapAreas:
    """Measure the areas of the classes of a map, some rows of it at a time.

    Args:
        path: The map, with a class's number in each pixel, or 255.
        classes: Names of the classes 0, 1, ….

    Raises:
        UserError: If the map can't be read, or holds another number.
    """
    totals = np.zeros((2, 256))
    bound_gdal_cache()
    with open_raster(path) as raster:
        areas = measure_areas(Georeference.of(raster), raster.shape)
        for top in range(0, raster.height, _ROWS):
            count = min(_ROWS, raster.height - top)
            numbers = raster.read(1, window=((top, top + count), (0, raster.width)))
            if areas is None:
                totals[0] += np.bincount(numbers.ravel(), minlength=256)
            else:
                areas.add_classes(numbers, top, totals)
    unknown = np.flatnonzero(totals[0, len(classes) : NODATA])
    if len(unknown):
        raise UserError(
            f"map {path}: holds the number {len(classes) + unknown[0]}; expected those of "
            f"{len(classes)} classes, from 0, or {NODATA}"
        )
    weights = totals[0] if areas is None else totals[1]
    hectares = np.full(256, np.nan) if areas is None else totals[1]
    with_data = weights[: len(classes)].sum() or 1.0
    rows = [
        ClassArea(name, int(pixels), float(area), float(100 * weight / with_data))
        for name, pixels, area, weight in zip(classes, totals[0], hectares, weights, strict=False)
    ]
    share = 100 * weights[NODATA] / (weights.sum() or 1.0)
    nodata = ClassArea("no data", int(totals[0, NODATA]), float(hectares[NODATA]), float(share))
    return MapAreas(tuple(rows), nodata)


def write_areas(folder: Path, areas: MapAreas) -> None:
    """Write `areas.csv` and `areas.json`.

    Args:
        folder: The folder of the map.
        areas: The areas.

    Raises:
        UserError: If they can't be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["class", "pixels", "hectares", "percent"])
    for row in areas.classes:
        writer.writerow([row.name, row.pixels, _format(row.hectares), f"{row.percent:.4f}"])
    writer.writerow([areas.nodata.name, areas.nodata.pixels, _format(areas.nodata.hectares), ""])
    content = {
        "area": "geodesic, on the ellipsoid of WGS 84" if areas.is_placed else "unknown: no place",
        "classes": [_describe(row) for row in areas.classes],
        "no_data": _describe(areas.nodata),
    }
    try:
        write_text(folder / "areas.csv", table.getvalue())
        write_json(folder / "areas.json", content)
    except OSError as error:
        raise explain_write_error(folder, error) from error


def _format(hectares: float) -> str:
    return "" if np.isnan(hectares) else f"{hectares:.4f}"


def _describe(row: ClassArea) -> dict[str, Any]:
    hectares = None if np.isnan(row.hectares) else row.hectares
    return {"name": row.name, "pixels": row.pixels, "hectares": hectares, "percent": row.percent}
