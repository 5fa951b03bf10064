"""Classified rasters of any program: their classes, read some rows at a time, with areas."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rasterio.errors import RasterioError

from data_pipelines.errors import UserError
from data_pipelines.files.rasters import bound_gdal_cache
from data_pipelines.imagery.georeferences import Georeference
from data_pipelines.scenes.raster import open_any_raster
from ssl_jax.estimation.regions import Regions
from ssl_jax.maps.areas import PixelAreas, measure_areas

__all__ = [
    "NO_CLASS",
    "Cells",
    "ClassMap",
    "Rows",
    "count_cells",
    "find_pixels",
    "iterate_rows",
    "open_map",
    "read_classes",
    "read_raster",
]

# Stands for the class of pixels without data.
NO_CLASS = int(np.iinfo(np.int64).min)

# Rows that are read at once, and pixels whose classes and areas are looked at at once.
_ROWS, _CHUNK = 512, 2**20
_MOST_CLASSES = 255


@dataclass(frozen=True)
class ClassMap:
    """A classified raster.

    Attributes:
        path: Its file, of which the first band is read.
        size: Height and width, in pixels.
        georeference: What places it.
        nodata: Value of pixels without data; None if all have data.
        names: Names of classes by value, as far as they are known.
        areas: Areas of its pixels; None if it doesn't say where on the Earth it is.
    """

    path: Path
    size: tuple[int, int]
    georeference: Georeference
    nodata: float | None
    names: Mapping[int, str]
    areas: PixelAreas | None

    @property
    def unit(self) -> str:
        """Unit of areas."""
        return "pixels" if self.areas is None else "ha"

    def name(self, value: int) -> str:
        """Return the name of a class."""
        return self.names.get(value, str(value))

    def name_all(self, values: Iterable[int]) -> "ClassMap":
        """Return the map with names of all classes that it has; a value is its own name."""
        return replace(self, names={**{value: str(value) for value in values}, **self.names})


class Rows(NamedTuple):
    """Some rows of a map.

    Attributes:
        top: The first row.
        classes: (h, width) int64 values.
        is_valid: (h, width) whether pixels have data.
        areas: (h, width) areas of pixels in the map's unit.
    """

    top: int
    classes: np.ndarray
    is_valid: np.ndarray
    areas: np.ndarray


@dataclass(frozen=True)
class Cells:
    """The parts of a map that have the same class and lie in the same regions.

    Attributes:
        keys: (cells, 1 + sets of regions) value of the class, and number of the region in each set:
            0 outside of all, otherwise 1 more than its index.
        pixels: (cells,) numbers of pixels.
        areas: (cells,) areas.
    """

    keys: np.ndarray
    pixels: np.ndarray
    areas: np.ndarray


@contextlib.contextmanager
def read_raster(path: Path) -> Iterator[Any]:
    """Open a raster of any format that GDAL knows, as a rasterio dataset.

    Args:
        path: Its file.

    Yields:
        The rasterio dataset.

    Raises:
        UserError: If it can't be opened, or can't be read inside the `with` block.
    """
    with open_any_raster(str(path)) as raster:
        try:
            yield raster
        except RasterioError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"file {path}: can't be read ({reason}); is it complete?") from error


def open_map(path: Path, names: Mapping[int, str], nodata: float | None = None) -> ClassMap:
    """Read what a map says of itself.

    Args:
        path: Its file.
        names: Names of classes by value, which go before those that the file's tags say.
        nodata: Value of pixels without data; None for what the file says.

    Raises:
        UserError: If it can't be read, or isn't a map of one band of numbers.
    """
    bound_gdal_cache()
    with read_raster(path) as raster:
        if np.dtype(raster.dtypes[0]).kind not in "uif":
            raise UserError(f"map {path}: holds {raster.dtypes[0]}; expected numbers of classes")
        if raster.count != 1:
            raise UserError(f"map {path}: has {raster.count} bands; expected 1 with classes")
        place = Georeference.of(raster)
        tags = {**raster.tags(), **raster.tags(1)}
        found = {
            int(key.removeprefix("CLASS_")): text
            for key, text in tags.items()
            if key.startswith("CLASS_") and key.removeprefix("CLASS_").isdigit()
        }
        value = raster.nodata if nodata is None else nodata
        areas = measure_areas(place, raster.shape)
        return ClassMap(path, raster.shape, place, value, {**found, **names}, areas)


def iterate_rows(class_map: ClassMap) -> Iterator[Rows]:
    """Read a map from top to bottom, about a million pixels at a time.

    Args:
        class_map: The map.

    Yields:
        Its rows.

    Raises:
        UserError: If it can't be read, or holds numbers that aren't whole.
    """
    height, width = class_map.size
    step = max(1, _CHUNK // width)
    with read_raster(class_map.path) as raster:
        for first in range(0, height, _ROWS):
            last = min(first + _ROWS, height)
            values = raster.read(1, window=((first, last), (0, width)))
            for top in range(first, last, step):
                part = values[top - first : top - first + step]
                areas = (
                    np.ones(part.shape)
                    if class_map.areas is None
                    else class_map.areas.measure_rows(top, len(part))
                )
                yield Rows(top, *_to_classes(class_map, part, areas), areas)


def read_classes(class_map: ClassMap, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read the classes of single pixels.

    Args:
        class_map: The map.
        rows: (n,) rows inside it.
        columns: (n,) columns inside it.

    Returns:
        (n,) int64 values; `NO_CLASS` for pixels without data.
    """
    found = np.zeros(len(rows), np.int64)
    order = np.argsort(rows, kind="stable")
    with read_raster(class_map.path) as raster:
        for index in order:
            row, column = int(rows[index]), int(columns[index])
            value = raster.read(1, window=((row, row + 1), (column, column + 1)))
            classes, is_valid = _to_classes(class_map, value, np.ones((1, 1)))
            found[index] = classes[0, 0] if is_valid[0, 0] else NO_CLASS
    return found


def count_cells(class_map: ClassMap, *sets: Regions) -> Cells:
    """Add up the pixels and the area of each class in each region.

    Args:
        class_map: The map.
        sets: Sets of regions; a cell lies in one region of each.

    Raises:
        UserError: If the map can't be read, has no pixel with data or more values than a map of
            classes, or regions of a set overlap.
    """
    totals: dict[tuple[int, ...], np.ndarray] = {}
    counts = [len(regions.names) + 1 for regions in sets]
    overlaps = [regions.watch_overlaps() for regions in sets]
    values: set[int] = set()
    for rows in iterate_rows(class_map):
        if not rows.is_valid.any():
            continue
        present, code = _number(rows.classes, rows.is_valid)
        values.update(present.tolist())
        if len(values) > _MOST_CLASSES:
            raise UserError(
                f"map {class_map.path}: holds more than {_MOST_CLASSES} different values; expected "
                "classes: give the one without data by --nodata"
            )
        for regions, count, watch in zip(sets, counts, overlaps, strict=True):
            numbers = regions.number_rows(rows.top, rows.classes.shape, watch)
            code = code * count + numbers[rows.is_valid]
        length = len(present) * int(np.prod(counts))
        pixels = np.bincount(code, minlength=length)
        areas = np.bincount(code, rows.areas[rows.is_valid], length)
        for index in np.flatnonzero(pixels):
            value, *numbers_ = np.unravel_index(index, (len(present), *counts))
            key = (int(present[value]), *map(int, numbers_))
            totals.setdefault(key, np.zeros(2))
            totals[key] += pixels[index], areas[index]
    for watch in overlaps:
        watch.check()
    if not totals:
        raise UserError(f"map {class_map.path}: no pixel has data; expected a map of classes")
    keys = sorted(totals)
    sums = np.array([totals[key] for key in keys])
    return Cells(np.array(keys), sums[:, 0].astype(np.int64), sums[:, 1])


def _to_classes(
    class_map: ClassMap, values: np.ndarray, areas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    is_valid = areas > 0
    if class_map.nodata is not None and not np.isnan(class_map.nodata):
        is_valid &= values != class_map.nodata
    if values.dtype.kind == "f":
        is_valid &= np.isfinite(values)
        whole = np.where(is_valid, values, 0)
        if (fraction := whole[whole != np.round(whole)]).size:
            raise UserError(
                f"map {class_map.path}: holds {fraction.flat[0]:g}; expected whole numbers of "
                "classes"
            )
        values = whole
    return values.astype(np.int64), is_valid


def _number(classes: np.ndarray, is_valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted values of the pixels with data, and the position of each among them."""
    known = classes[is_valid]
    low, high = int(known.min()), int(known.max())
    if high - low > 2**20:
        return np.unique(known, return_inverse=True)
    counts = np.bincount(known - low, minlength=high - low + 1)
    present = np.flatnonzero(counts)
    table = np.zeros(len(counts), np.int64)
    table[present] = np.arange(len(present))
    return present + low, table[known - low]


def find_pixels(class_map: ClassMap, x: np.ndarray, y: np.ndarray) -> Any:
    """Return the rows and columns of points in the map's coordinates.

    Args:
        class_map: The map, which needs a transform.
        x: (n,) coordinates.
        y: (n,) coordinates.

    Returns:
        (n,) rows and (n,) columns, which may lie outside.

    Raises:
        UserError: If the map has no transform.
    """
    if class_map.georeference.transform is None:
        raise UserError(
            f"map {class_map.path}: has no transform from pixels to coordinates; expected one: "
            "give the file of strata, which has rows and columns"
        )
    columns, rows = class_map.georeference.pixels(x, y)
    return np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
