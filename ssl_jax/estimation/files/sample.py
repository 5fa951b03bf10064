"""Samples on disk: places to be labelled, and in a file of its own the strata that they stand for.

`sample.csv` and `sample.gpkg` have the places with an empty column `reference`, in random order and
with random ids, so that nothing tells the map's class to the one who labels. `strata.json` has the
strata, the pixel of each place, and what the map was like.
"""

import csv
import io
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio import Affine
from rasterio.crs import CRS

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_json, write_text
from ssl_jax.estimation.classified import Cells, ClassMap
from ssl_jax.estimation.files.geopackage import write_points
from ssl_jax.estimation.regions import Regions
from ssl_jax.estimation.sampling import Places, StrataTable

__all__ = [
    "SAMPLE",
    "STRATA",
    "Sample",
    "check_map",
    "describe_place",
    "is_same_place",
    "make_strata",
    "read_sample",
    "refuse_sample",
    "write_sample",
]

SAMPLE, STRATA = "sample", "strata.json"
# Distance in pixels up to which corners of maps are the same.
_SAME = 0.01


@dataclass(frozen=True)
class Sample:
    """A sample as it was planned.

    Attributes:
        file: Its file of strata, for messages.
        strata: Its strata.
        places: Its places.
        regions: The regions that it is of; none for the whole map.
        place: Georeference and size of the map, as JSON types.
        map_name: Name of the map's file.
    """

    file: Path
    strata: StrataTable
    places: Places
    regions: Regions
    place: Mapping[str, Any]
    map_name: str


def make_strata(cells: Cells, regions: Regions) -> StrataTable:
    """Make the strata of cells: the classes, in each region if there are any.

    Args:
        cells: Cells by class and region.
        regions: The regions; pixels outside of all are left out.

    Raises:
        UserError: If no pixel lies in a region.
    """
    inside = cells.keys[:, 1] > 0 if regions.names else np.ones(len(cells.keys), bool)
    if not inside.any():
        raise UserError(f"regions {regions.file}: hold no pixel of the map")
    keys = cells.keys[inside]
    return StrataTable(keys[:, 0], keys[:, 1], cells.pixels[inside], cells.areas[inside])


def describe_place(class_map: ClassMap) -> dict[str, Any]:
    """Return what a map has in common with another of the same pixels, as JSON types."""
    return {"size": list(class_map.size), **class_map.georeference.to_dict()}


def refuse_sample(folder: Path) -> None:
    """Check that a folder holds no sample, whose labels would be lost.

    Args:
        folder: The folder; it need not exist.

    Raises:
        UserError: If it holds one.
    """
    for name in (STRATA, f"{SAMPLE}.csv", f"{SAMPLE}.gpkg"):
        if (folder / name).exists():
            raise UserError(
                f"folder {folder}: holds a sample already ({name}), perhaps with labels; give "
                "another folder by --output, or delete it"
            )


def write_sample(
    folder: Path,
    class_map: ClassMap,
    sample: Sample,
    settings: Mapping[str, Any],
    pictures: Mapping[str, str],
) -> None:
    """Write a sample.

    Args:
        folder: The folder to write to.
        class_map: The map.
        sample: The sample.
        settings: How it was drawn, to be kept.
        pictures: Names of the pictures by id; empty if there are none.

    Raises:
        UserError: If it can't be written.
    """
    places = sample.places
    columns, rows = places.columns + 0.5, places.rows + 0.5
    place = class_map.georeference
    if place.crs is None and place.transform is None:
        x, y = columns, -rows
    else:
        x, y = place.coordinates(columns, rows)
    longitude, latitude = (values.round(8) for values in place.locate(columns, rows))
    table: dict[str, list[Any]] = {"id": list(places.ids), "x": x.tolist(), "y": y.tolist()}
    if np.isfinite(longitude).all():
        table |= {"longitude": longitude.tolist(), "latitude": latitude.tolist()}
    if pictures:
        table["picture"] = [pictures.get(name, "") for name in places.ids]
    table["reference"] = [""] * len(places.ids)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{SAMPLE}.csv", text.getvalue())
        write_points(folder / f"{SAMPLE}.gpkg", SAMPLE, place.crs, x.tolist(), y.tolist(), table)
        write_json(folder / STRATA, _describe(class_map, sample, settings))
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"folder {folder}: can't be written ({error})") from error


def _describe(class_map: ClassMap, sample: Sample, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file of strata as JSON types."""
    places, strata = sample.places, sample.strata
    return {
        "map": class_map.path.name,
        "place": sample.place,
        "settings": dict(settings),
        "unit": class_map.unit,
        "regions": sample.regions.to_json(),
        "strata": [
            {
                "value": int(value),
                "class": class_map.name(int(value)),
                "region": int(region),
                "pixels": int(pixels),
                "area": float(area),
                "places": int((places.strata == index).sum()),
            }
            for index, (value, region, pixels, area) in enumerate(zip(*strata, strict=True))
        ],
        "places": {
            name: [int(stratum), int(row), int(column)]
            for name, stratum, row, column in zip(*places, strict=True)
        },
    }


def read_sample(path: Path, class_map: ClassMap) -> Sample:
    """Read a file of strata.

    Args:
        path: The file.
        class_map: The map that it is used with.

    Raises:
        UserError: If it isn't one, or is of a map with other pixels.
    """
    try:
        content = json.loads(path.read_text())
        strata = content["strata"]
        table = StrataTable(
            np.array([row["value"] for row in strata]),
            np.array([row["region"] for row in strata]),
            np.array([row["pixels"] for row in strata]),
            np.array([row["area"] for row in strata]),
        )
        numbers = np.array(list(content["places"].values()), np.int64).reshape(-1, 3)
        places = Places(tuple(content["places"]), *numbers.T)
        regions = Regions.of_json(content["regions"], str(path), class_map.georeference.transform)
        sample = Sample(path, table, places, regions, content["place"], content["map"])
    except OSError as error:
        raise UserError(f"strata {path}: can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"strata {path}: isn't a file of strata; expected strata.json of `ssl_jax.areas plan`"
        ) from error
    if not is_same_place(sample.place, describe_place(class_map)):
        raise UserError(
            f"strata {path}: are of {sample.map_name}, whose pixels aren't those of "
            f"{class_map.path}; expected a map with the same size and place"
        )
    return sample


def check_map(sample: Sample, class_map: ClassMap, found: StrataTable) -> None:
    """Check that a sample was planned on a map.

    Args:
        sample: The sample.
        class_map: The map.
        found: The strata that the map has.

    Raises:
        UserError: If they aren't those of the sample.
    """
    known = sample.strata
    names = ("values", "regions", "pixels")
    if not all(np.array_equal(getattr(found, name), getattr(known, name)) for name in names):
        raise UserError(
            f"strata {sample.file}: are of another map ({sample.map_name}) than {class_map.path}: "
            "its classes have other numbers of pixels; expected the map of `plan`, or "
            "--other_map, which keeps the strata of the sample"
        )


def is_same_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two maps have the same pixels, by what `describe_place` returns of them."""
    if list(one["size"]) != list(other["size"]) or (one["crs"] is None) != (other["crs"] is None):
        return False
    if one["crs"] is not None and CRS.from_wkt(one["crs"]) != CRS.from_wkt(other["crs"]):
        return False
    transforms = one["transform"], other["transform"]
    if None in transforms:
        return transforms[0] is transforms[1]
    # Corners of the maps that lie less than a hundredth of a pixel apart.
    height, width = one["size"]
    first, second = (Affine(*numbers) for numbers in transforms)
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    moved = [~first * (second * corner) for corner in corners]
    return bool(np.allclose(moved, corners, rtol=0, atol=_SAME))
