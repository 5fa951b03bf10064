"""What places an image on the Earth, and comparison of the places of an image and its mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer
from rasterio.warp import transform as transform_coordinates

from data_pipelines.errors import UserError
from data_pipelines.imagery.headers import Header

__all__ = ["NO_PLACE", "WGS84", "Georeference", "check_same_place"]

WGS84 = CRS.from_epsg(4326)
# Systems of longitude and latitude in degrees that differ from WGS 84 by less than two metres.
_GEOGRAPHIC = (4326, 4258, 4269)
# Semi-major axis, in metres, and squared eccentricity of the ellipsoid of WGS 84.
_SEMI_MAJOR, _ECCENTRICITY2 = 6_378_137.0, 0.0066943799901413165
# Distance of corresponding corners, in pixels, up to which two files show the same place. Rounded
# coordinates differ by thousandths, files of pixel centres and of pixel corners by a half.
_TOLERANCE = 0.6


@dataclass(frozen=True)
class Georeference:
    """What places an image: a transform of its pixels to coordinates, or control points.

    Attributes:
        crs: Coordinate reference system; None if the image has none.
        transform: Affine transform from (column, row) of corners of pixels to coordinates; None if
            the image has none.
        gcps: Ground control points, (row, column, x, y, z) each, of images without a transform.
    """

    crs: Any = None
    transform: Any = None
    gcps: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, raster: Any) -> "Georeference":
        """Return the georeference of an open rasterio dataset."""
        if not raster.transform.is_identity:
            return cls(raster.crs, raster.transform)
        points, crs = raster.gcps
        gcps = tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in points)
        return cls(crs if gcps else raster.crs, None, gcps)

    @property
    def units(self) -> str:
        """Unit of the coordinates, such as `metre` or `degree`; empty without a system."""
        return str(self.crs.units_factor[0]) if self.crs else ""

    @property
    def is_geographic(self) -> bool:
        """Whether coordinates are degrees of longitude and latitude of WGS 84, or nearly so."""
        return bool(self.crs and self.crs.is_geographic and self.crs.to_epsg() in _GEOGRAPHIC)

    def resize(self, size: tuple[int, int], new_size: tuple[int, int]) -> "Georeference":
        """Return the georeference of the image, of height and width `size`, at another size."""
        down, right = (old / new for old, new in zip(size, new_size, strict=True))
        transform = self.transform and self.transform * Affine.scale(right, down)
        gcps = tuple((row / down, col / right, *xyz) for row, col, *xyz in self.gcps)
        return Georeference(self.crs, transform, gcps)

    def coordinates(self, columns: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates x and y of points of an image, NaN if it has none.

        Args:
            columns: (n,) columns; a whole number is the left corner of a pixel.
            rows: (n,) rows; a whole number is the upper corner of a pixel.
        """
        columns, rows = (np.asarray(values, np.float64) for values in (columns, rows))
        if (t := self.transform) is not None:
            return t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
        if not self.gcps:
            return np.full_like(columns, np.nan), np.full_like(rows, np.nan)
        points = [GroundControlPoint(row, column, x, y, z) for row, column, x, y, z in self.gcps]
        with GCPTransformer(points) as transformer:
            x, y = transformer.xy(rows.tolist(), columns.tolist(), offset="ul")
        return np.array(x, np.float64), np.array(y, np.float64)

    def pixels(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return columns and rows of coordinates, the inverse of `coordinates`.

        Args:
            x: (...) coordinates x, of an image with a transform.
            y: (...) coordinates y.
        """
        t = ~self.transform
        x, y = (np.asarray(values, np.float64) for values in (x, y))
        return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f

    def locate(self, columns: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return longitude and latitude in degrees of WGS 84; NaN off the Earth or without place.

        Args:
            columns: (n,) columns, as in `coordinates`.
            rows: (n,) rows.
        """
        x, y = self.coordinates(columns, rows)
        if not self.crs or not (self.crs.is_geographic or self.crs.is_projected):
            return np.full_like(x, np.nan), np.full_like(y, np.nan)
        if not self.is_geographic:
            x, y = _to_degrees(self.crs, x, y)
        is_place = np.isfinite(x) & np.isfinite(y)
        return np.where(is_place, x, np.nan), np.where(is_place, y, np.nan)

    def measure_pixel(self, size: tuple[int, int]) -> tuple[float, float]:
        """Return the height and width on the ground, in metres, of the pixel in the middle.

        Args:
            size: Height and width of the image, in pixels.

        Returns:
            (0, 0) if they are unknown.
        """
        row, column = (side / 2 for side in size)
        columns = (column, column, column - 0.5, column + 0.5)
        rows = (row - 0.5, row + 0.5, row, row)
        above, below, left, right = _to_geocentric(*self.locate(columns, rows))
        height, width = (float(np.linalg.norm(edge)) for edge in (below - above, right - left))
        return (height, width) if np.isfinite((height, width)).all() else (0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the georeference as JSON types, to be compared with another."""
        return {
            "crs": self.crs.to_wkt() if self.crs else None,
            "transform": list(self.transform)[:6] if self.transform else None,
            "gcps": [list(point) for point in self.gcps],
        }


NO_PLACE = Georeference()


def _to_degrees(crs: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Transform coordinates to (2, n) degrees of WGS 84; NaN where the system has no such point."""
    try:
        return np.array(transform_coordinates(crs, WGS84, x, y), np.float64)
    except Exception:  # unpublished errors of GDAL, which one point outside raises for all
        if len(x) <= 1:
            return np.full((2, len(x)), np.nan)
    half = len(x) // 2
    parts = _to_degrees(crs, x[:half], y[:half]), _to_degrees(crs, x[half:], y[half:])
    return np.concatenate(parts, axis=1)


def _to_geocentric(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return (n, 3) positions in space, in metres from the centre of the Earth."""
    longitude, latitude = np.radians(longitude), np.radians(latitude)
    normal = _SEMI_MAJOR / np.sqrt(1 - _ECCENTRICITY2 * np.sin(latitude) ** 2)
    return np.stack(
        [
            normal * np.cos(latitude) * np.cos(longitude),
            normal * np.cos(latitude) * np.sin(longitude),
            normal * (1 - _ECCENTRICITY2) * np.sin(latitude),
        ],
        axis=-1,
    )


def check_same_place(image: Header, mask: Header) -> None:
    """Check that a mask shows the same place as its image, if both say where they are.

    Args:
        image: Header of the image.
        mask: Header of its mask, of the same height and width.

    Raises:
        UserError: If they differ by more than half a pixel.
    """
    if image.transform is None or mask.transform is None:
        return
    height, width = image.size
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    try:
        in_image = [~image.transform * point for point in _corners_in_crs(mask, image.crs, corners)]
    except Exception:  # unpublished errors of GDAL: coordinates outside the image's system
        in_image = []
    distances = [
        max(abs(column - x), abs(row - y))
        for (column, row), (x, y) in zip(in_image, corners, strict=False)
    ]
    if not distances or not max(distances) <= _TOLERANCE:
        raise UserError(
            f"file {mask.file}: lies at {_format(mask)}, but its image {image.file} at "
            f"{_format(image)}; expected a mask of the same place: pair them by other patterns "
            "(--config.images, --config.masks), or warp the mask to the image's grid"
        )


def _corners_in_crs(mask: Header, crs: Any, corners: Sequence[tuple[int, int]]) -> Any:
    points = [mask.transform * corner for corner in corners]
    if crs is None or mask.crs is None or crs == mask.crs:
        return points
    return list(zip(*transform_coordinates(mask.crs, crs, *zip(*points, strict=True)), strict=True))


def _format(header: Header) -> str:
    t = header.transform
    code = header.crs.to_epsg() if header.crs else None
    name = f"EPSG:{code}" if code else "its own system" if header.crs else "no system"
    return f"({t.c:.10g}, {t.f:.10g}) of {name} in pixels of {abs(t.a):g} × {abs(t.e):g}"
