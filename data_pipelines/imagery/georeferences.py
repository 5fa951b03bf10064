"""Comparison of the georeferences of an image and its mask."""

from typing import Any

from rasterio.warp import transform as transform_coordinates

from data_pipelines.errors import UserError
from data_pipelines.imagery.headers import Header

__all__ = ["check_same_place"]

# Distance of corresponding corners, in pixels, up to which two files show the same place. Rounded
# coordinates differ by thousandths, files of pixel centres and of pixel corners by a half.
_TOLERANCE = 0.6


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


def _corners_in_crs(mask: Header, crs: Any, corners: list[tuple[int, int]]) -> Any:
    points = [mask.transform * corner for corner in corners]
    if crs is None or mask.crs is None or crs == mask.crs:
        return points
    return list(zip(*transform_coordinates(mask.crs, crs, *zip(*points, strict=True)), strict=True))


def _format(header: Header) -> str:
    t = header.transform
    code = header.crs.to_epsg() if header.crs else None
    name = f"EPSG:{code}" if code else "its own system" if header.crs else "no system"
    return f"({t.c:.10g}, {t.f:.10g}) of {name} in pixels of {abs(t.a):g} × {abs(t.e):g}"
