"""A small picture of each place of a sample, cut out of an image of any coordinate system."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rasterio.enums import Resampling
from rasterio.warp import transform as transform_coordinates
from rasterio.windows import Window

from data_pipelines.errors import UserError
from data_pipelines.files.display import to_display_rgb
from data_pipelines.files.writing import replace_when_written
from data_pipelines.imagery.georeferences import WGS84, Georeference
from ssl_jax.estimation.classified import ClassMap, read_raster
from ssl_jax.estimation.sampling import Places

__all__ = ["write_pictures"]

# Side of what is shown, in pixels of the image, and of the picture.
_SHOWN, _SIDE = 64, 384
_MARK = (255, 0, 255)


def write_pictures(
    folder: Path, scene: Path, class_map: ClassMap, places: Places
) -> dict[str, str]:
    """Write a picture of each place, in which a square marks the map's pixel.

    Args:
        folder: Folder to write to.
        scene: The image, whose first three bands are shown as red, green and blue.
        class_map: The map.
        places: The places.

    Returns:
        Names of the files by id; places outside of the image have none.

    Raises:
        UserError: If the image can't be read, or has no place.
    """
    corners = np.array([(0.5, 0.5), (0, 0), (1, 0), (1, 1), (0, 1)])
    columns = places.columns[:, None] + corners[:, 0]
    rows = places.rows[:, None] + corners[:, 1]
    longitude, latitude = class_map.georeference.locate(columns.ravel(), rows.ravel())
    names = {}
    with read_raster(scene) as raster:
        if raster.crs is None or not np.isfinite(longitude).all():
            which = f"scene {scene}" if raster.crs is None else f"map {class_map.path}"
            raise UserError(
                f"{which}: doesn't say where it is; expected a scene and a map with coordinate "
                "reference systems"
            )
        place = Georeference(raster.crs, raster.transform)
        coordinates = transform_coordinates(WGS84, raster.crs, longitude, latitude)
        across, down = (points.reshape(-1, len(corners)) for points in place.pixels(*coordinates))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, place_columns, place_rows in zip(places.ids, across, down, strict=True):
                picture = _draw(raster, place_columns, place_rows)
                if picture is not None:
                    with replace_when_written(folder / f"{name}.png") as temporary:
                        picture.save(temporary, format="PNG")
                    names[name] = f"{folder.name}/{name}.png"
        except OSError as error:
            raise UserError(f"folder {folder}: can't be written ({error.strerror})") from error
    return names


def _draw(raster: Any, columns: np.ndarray, rows: np.ndarray) -> Image.Image | None:
    """Draw the surroundings of a pixel, whose middle is the first point, and then its corners."""
    if not (0 <= columns[0] < raster.width and 0 <= rows[0] < raster.height):
        return None
    # A map's pixel larger than what is shown is shown whole.
    shown = max(_SHOWN, 2 * float(np.ptp(columns)), 2 * float(np.ptp(rows)))
    left, top = columns[0] - shown / 2, rows[0] - shown / 2
    bands = [1, 2, 3] if raster.count >= 3 else [1]
    pixels = raster.read(
        bands,
        window=Window(left, top, shown, shown),
        boundless=True,
        fill_value=0,
        out_shape=(len(bands), _SIDE, _SIDE),
        resampling=Resampling.nearest,
    )
    image = np.moveaxis(pixels, 0, -1).astype(np.float64)
    colours = ("red", "green", "blue")[: len(bands)]
    known = image[np.isfinite(image).all(-1) & (image != 0).any(-1)]
    reference = known[None] if len(known) else np.zeros((1, 1, len(bands)))
    image = to_display_rgb(np.nan_to_num(image), colours, reference=reference)
    picture = Image.fromarray((image * 255).astype(np.uint8))
    points = [
        ((column - left) / shown * _SIDE, (row - top) / shown * _SIDE)
        for column, row in zip(columns[1:], rows[1:], strict=True)
    ]
    drawing = ImageDraw.Draw(picture)
    drawing.polygon(points, outline=_MARK, width=2)
    if np.ptp(np.array(points), axis=0).max() < 8:  # too small to be seen
        middle = _SIDE / 2
        drawing.ellipse(
            (middle - 14, middle - 14, middle + 14, middle + 14), outline=_MARK, width=2
        )
    return picture
