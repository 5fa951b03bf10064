"""Regions of a map, such as districts, read from GeoJSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.features import bounds, rasterize
from rasterio.warp import transform_geom

from data_pipelines.errors import UserError
from data_pipelines.imagery.georeferences import WGS84, Georeference

__all__ = ["NO_REGIONS", "Overlaps", "Regions", "read_regions"]

# Share of the smaller of two regions up to which they may overlap: digitised borders rarely fit.
_SLIVER = 1e-3
_NAMES = ("name", "NAME", "Name", "id", "ID")


@dataclass
class Overlaps:
    """What a pass over a map finds of regions that overlap.

    Attributes:
        file: File of the regions.
        names: Their names.
        pixels: Number of pixels by region.
        shared: Number of pixels by pair of regions.
    """

    file: str
    names: tuple[str, ...]
    pixels: Counter[int] = field(default_factory=Counter)
    shared: Counter[tuple[int, int]] = field(default_factory=Counter)

    def check(self) -> None:
        """Raise `UserError` if two regions overlap, or one has no pixel."""
        for (one, other), count in self.shared.items():
            # The pixels that two regions share are counted for the later one.
            smaller = min(self.pixels[one] + count, self.pixels[other])
            if count > _SLIVER * smaller:
                raise UserError(
                    f"regions {self.file}: {self.names[one]} and {self.names[other]} overlap in "
                    f"{count} pixels; expected regions that don't"
                )
        for index, name in enumerate(self.names):
            if not self.pixels[index]:
                raise UserError(
                    f"regions {self.file}: {name} holds no pixel of the map; expected regions on "
                    "the map, in longitude and latitude or with a `crs`"
                )


@dataclass(frozen=True)
class Regions:
    """Regions that don't overlap.

    Attributes:
        file: Where they come from, for messages.
        names: Their names.
        geometries: Their polygons, as GeoJSON in the coordinates of the map.
        transform: Transform of the map from pixels to coordinates.
    """

    file: str = ""
    names: tuple[str, ...] = ()
    geometries: tuple[Mapping[str, Any], ...] = ()
    transform: Any = None

    def watch_overlaps(self) -> Overlaps:
        """Return what collects overlaps during a pass over the map."""
        return Overlaps(self.file, self.names)

    def number_rows(
        self, top: int, shape: tuple[int, int], watch: Overlaps | None = None
    ) -> np.ndarray:
        """Return the region of each pixel of some rows, by the middle of the pixel.

        Args:
            top: The first row.
            shape: Number of rows, and the map's width.
            watch: What collects overlaps; None to look for none.

        Returns:
            (h, width) int64, 0 outside of all regions, otherwise 1 more than the index.
        """
        if not self.names:
            return np.zeros(shape, np.int64)
        last = self._rasterize(top, shape, range(len(self.names)))
        if watch is not None:
            first = self._rasterize(top, shape, reversed(range(len(self.names))))
            watch.pixels.update(dict(_count(last[last > 0] - 1)))
            differ = first != last
            pairs = (first[differ] - 1) * len(self.names) + last[differ] - 1
            for code, count in _count(pairs):
                watch.shared[divmod(code, len(self.names))] += count
        return last

    def locate(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the region of single pixels, numbered as in `number_rows`."""
        if not self.names:
            return np.zeros(len(rows), np.int64)
        numbers = [
            self._rasterize(int(row), (1, 1), range(len(self.names)), int(column))[0, 0]
            for row, column in zip(rows, columns, strict=True)
        ]
        return np.array(numbers, np.int64)

    def _rasterize(self, top: int, shape: tuple[int, int], order: Any, left: int = 0) -> np.ndarray:
        place = self.transform * Affine.translation(left, top)
        corners = [place * (x, y) for x in (0, shape[1]) for y in (0, shape[0])]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        boxes = self._boxes
        near = ((boxes[:, :2] <= high) & (boxes[:, 2:] >= low)).all(1)
        shapes = [(self.geometries[index], index + 1) for index in order if near[index]]
        if not shapes:
            return np.zeros(shape, np.int64)
        numbers = rasterize(shapes, out_shape=shape, transform=place, fill=0, dtype="int32")
        return np.asarray(numbers, np.int64)

    @cached_property
    def _boxes(self) -> np.ndarray:
        """(regions, 4) left, bottom, right and top of each."""
        return np.array([bounds(geometry) for geometry in self.geometries])

    def to_json(self) -> list[dict[str, Any]]:
        """Return names and polygons as JSON types."""
        pairs = zip(self.names, self.geometries, strict=True)
        return [{"name": name, "geometry": dict(geometry)} for name, geometry in pairs]

    @classmethod
    def of_json(cls, content: Sequence[Mapping[str, Any]], file: str, transform: Any) -> "Regions":
        """Return the regions that `to_json` returned.

        Args:
            content: What it returned.
            file: Where they come from, for messages.
            transform: Transform of the map.
        """
        names = tuple(region["name"] for region in content)
        return cls(file, names, tuple(region["geometry"] for region in content), transform)


NO_REGIONS = Regions()


def read_regions(path: Path, place: Georeference, name_field: str = "") -> Regions:
    """Read regions from a GeoJSON file.

    Args:
        path: The file, in longitude and latitude (RFC 7946) or with a `crs`.
        place: What places the map.
        name_field: Property with a region's name; empty for `name` or `id`.

    Raises:
        UserError: If it isn't GeoJSON with polygons of different names, or the map has no place.
    """
    if place.transform is None or place.crs is None:
        raise UserError(
            f"regions {path}: the map doesn't say where it is; expected a map with coordinate "
            "reference system and transform"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content.get("features", [content])
        declared = content.get("crs")
        crs = CRS.from_user_input(declared["properties"]["name"]) if declared else WGS84
        geometries = [feature["geometry"] for feature in features]
        is_polygon = all("Polygon" in geometry["type"] for geometry in geometries)
    except OSError as error:
        raise UserError(f"regions {path}: can't be read ({error.strerror})") from error
    except Exception as error:  # anything may be wrong with a file that isn't GeoJSON
        raise UserError(
            f"regions {path}: isn't GeoJSON; expected features with polygons"
        ) from error
    if not features or not is_polygon:
        raise UserError(f"regions {path}: holds other than polygons; expected regions as polygons")
    names = tuple(_name(path, feature, i, name_field) for i, feature in enumerate(features))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"regions {path}: {twice[0]!r} is the name of several; expected one feature for each "
            "region: give the property with its name by --region_field"
        )
    try:
        moved = tuple(transform_geom(crs, place.crs, geometry) for geometry in geometries)
    except Exception as error:  # unpublished errors of GDAL
        raise UserError(
            f"regions {path}: their coordinates don't exist in the map's system; expected "
            "longitude and latitude, or a `crs`"
        ) from error
    return Regions(str(path), names, moved, place.transform)


def _name(path: Path, feature: Mapping[str, Any], index: int, name_field: str) -> str:
    properties = feature.get("properties") or {}
    if name_field:
        if name_field not in properties:
            raise UserError(
                f"regions {path}: feature {index + 1} has no property {name_field!r}; expected one "
                f"of {', '.join(properties) or 'none'}"
            )
        return str(properties[name_field])
    for key in _NAMES:
        if properties.get(key) not in (None, ""):
            return str(properties[key])
    return str(feature.get("id", f"region {index + 1}"))


def _count(values: np.ndarray) -> list[tuple[int, int]]:
    counts = np.bincount(values) if len(values) else np.zeros(0, int)
    return [(int(value), int(counts[value])) for value in np.flatnonzero(counts)]
