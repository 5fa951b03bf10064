"""Areas of pixels on the ellipsoid of WGS 84, in any coordinate reference system.

A pixel of a projected system isn't as large as its sides say: by up to 0.2 % in UTM, and in Web
Mercator by a factor of four at 60° N. Latitudes are converted to authalic ones (Snyder 1987, "Map
Projections: A Working Manual", equations 3-11 to 3-13), which keep areas, so that areas on the
ellipsoid are areas on a sphere. Neighbouring pixels are measured together, as a cell: the larger
their differences, the smaller the cell.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_pipelines.imagery.georeferences import Georeference

__all__ = ["PixelAreas", "measure_areas"]

_HECTARE = 10_000.0
# Semi-major axis, in metres, and eccentricity of the ellipsoid of WGS 84.
_SEMI_MAJOR, _ECCENTRICITY = 6_378_137.0, 0.0818191908426215
# Limits on a cell: how much its pixels differ in area from those of the next one, its side in
# pixels, and in metres, since its corners are joined by straight lines.
_DIFFERENCE, _MAX_SIDE, _MAX_METRES = 1e-4, 512, 20_000.0
# Side of the grid of cells from which these are estimated.
_PROBES = 64
# Pixels of a cell from which on counting its numbers is faster than adding up areas, and limit on
# the pixels whose areas are added up at once.
_LARGE, _CHUNK = 2048, 2**20


@dataclass(frozen=True)
class PixelAreas:
    """The area of each pixel of a raster, constant within cells of pixels.

    Cells of a raster whose rows are parallels are whole rows, which is exact.

    Attributes:
        georeference: What places the raster.
        size: Height and width, in pixels.
        cell: Height and width of a cell, in pixels; those at the lower and right edge are smaller.
    """

    georeference: Georeference
    size: tuple[int, int]
    cell: tuple[int, int]

    def measure_rows(self, top: int, height: int) -> np.ndarray:
        """Return the areas of the pixels of some rows, in hectares.

        Args:
            top: The first row.
            height: Number of rows.

        Returns:
            (height, width) float64; 0 for pixels off the Earth.
        """
        first, last = top // self.cell[0], -(-(top + height) // self.cell[0])
        areas = self._measure_cells(first, last)
        rows = np.arange(top, top + height) // self.cell[0] - first
        return areas[rows][:, np.arange(self.size[1]) // self.cell[1]]

    def add_classes(self, classes: np.ndarray, top: int, totals: np.ndarray) -> None:
        """Add up the pixels and the area of each number in some rows of the raster.

        Args:
            classes: (h, width) uint8 numbers.
            top: The first row.
            totals: (2, 256) float64, to which pixels and hectares are added.
        """
        down, right = self.cell
        if down * right < _LARGE:
            step = max(1, _CHUNK // classes.shape[1])
            for start in range(0, len(classes), step):
                part = classes[start : start + step].ravel()
                areas = self.measure_rows(top + start, len(part) // classes.shape[1])
                totals += np.bincount(part, minlength=256), np.bincount(part, areas.ravel(), 256)
            return
        for first in range(top // down, -(-(top + len(classes)) // down)):
            rows = classes[max(0, first * down - top) : (first + 1) * down - top]
            counts = np.stack(
                [
                    np.bincount(rows[:, left : left + right].ravel(), minlength=256)
                    for left in range(0, self.size[1], right)
                ]
            )
            totals += counts.sum(axis=0), self._measure_cells(first, first + 1)[0] @ counts

    def _measure_cells(self, first: int, last: int) -> np.ndarray:
        """Return the area of a pixel, in hectares, in the cells of some rows of cells."""
        rows = np.minimum(np.arange(first, last + 1) * self.cell[0], self.size[0])
        return _measure_cells(self.georeference, rows, self._columns)

    @cached_property
    def _columns(self) -> np.ndarray:
        """The columns between which cells lie."""
        width = self.size[1]
        return np.append(np.arange(0, width, self.cell[1]), width)


def measure_areas(georeference: Georeference, size: tuple[int, int]) -> PixelAreas | None:
    """Measure the pixels of a raster.

    Args:
        georeference: What places it.
        size: Height and width, in pixels.

    Returns:
        Their areas; None if it doesn't say where on the Earth it is.
    """
    if _has_parallels(georeference):
        return PixelAreas(georeference, size, (1, size[1]))
    steps = [max(1, -(-side // _PROBES)) for side in size]
    rows, columns = (
        np.append(np.arange(0, side, step), side) for side, step in zip(size, steps, strict=True)
    )
    areas = _measure_cells(georeference, rows, columns)
    if not areas.any():
        return None
    logarithms = np.log(np.where(areas > 0, areas, np.nan))
    metres = math.sqrt(np.nanmedian(np.where(areas > 0, areas, np.nan)) * _HECTARE)
    sides = []
    for axis, step in enumerate(steps):
        differences = np.abs(np.diff(logarithms, axis=axis))
        known = differences[np.isfinite(differences)]
        per_pixel = max(known.max(initial=0.0) / step, _DIFFERENCE / _MAX_SIDE)
        limit = min(_DIFFERENCE / per_pixel, _MAX_METRES / metres, _MAX_SIDE)
        sides.append(2 ** int(math.log2(max(1.0, limit))))
    return PixelAreas(georeference, size, (sides[0], sides[1]))


def _has_parallels(georeference: Georeference) -> bool:
    t = georeference.transform
    return georeference.is_geographic and t is not None and t.b == t.d == 0


def _measure_cells(georeference: Georeference, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the mean area of a pixel, in hectares, in each cell between rows and columns."""
    pixels = np.diff(rows)[:, None] * np.diff(columns)
    if _has_parallels(georeference):
        t = georeference.transform
        heights = np.abs(np.diff(_to_authalic(np.clip(t.e * rows + t.f, -90, 90))))[:, None]
        areas = heights * np.radians(np.abs(t.a) * np.diff(columns))
    else:
        grid = np.meshgrid(columns, rows)
        longitude, latitude = georeference.locate(grid[0].ravel(), grid[1].ravel())
        sine = _to_authalic(latitude)
        cosine, angle = np.sqrt(np.maximum(1 - sine**2, 0)), np.radians(longitude)
        points = np.stack([cosine * np.cos(angle), cosine * np.sin(angle), sine], axis=-1)
        points = points.reshape(*grid[0].shape, 3)
        # Half the product of the diagonals: cells are so small that they are flat.
        normal = np.cross(points[1:, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, 1:])
        areas = np.linalg.norm(normal, axis=-1) / 2
    hectares = areas * _AUTHALIC_RADIUS2 / _HECTARE / pixels
    return np.nan_to_num(hectares, nan=0.0)


def _authalic_integral(sine: np.ndarray | float) -> np.ndarray:
    """Return Snyder's q of the sine of a latitude."""
    e = _ECCENTRICITY
    part = np.log((1 - e * sine) / (1 + e * sine)) / (2 * e)
    return np.asarray((1 - e**2) * (sine / (1 - (e * sine) ** 2) - part))


_AT_POLE = float(_authalic_integral(1.0))
_AUTHALIC_RADIUS2 = _SEMI_MAJOR**2 * _AT_POLE / 2


def _to_authalic(latitude: np.ndarray) -> np.ndarray:
    """Return the sine of the authalic latitude of a latitude in degrees."""
    return _authalic_integral(np.sin(np.radians(latitude))) / _AT_POLE
