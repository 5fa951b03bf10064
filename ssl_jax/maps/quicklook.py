"""A small picture of a map of classes, with its legend and a scale bar."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling

from data_pipelines.files.rasters import bound_gdal_cache, open_raster
from data_pipelines.files.writing import replace_when_written
from data_pipelines.imagery.georeferences import Georeference
from ssl_jax.maps.blocks import explain_write_error
from ssl_jax.maps.layers import Layer
from ssl_jax.maps.tables import MapAreas

__all__ = ["draw_quicklook", "write_quicklook"]

# Longer side of a large and of a small map, size of the text and of the squares of the legend, and
# the space between, in pixels of the picture.
_LARGE, _SMALL, _TEXT, _SQUARE, _SPACE = 1024, 480, 18, 22, 12
_PAPER, _INK, _NODATA_COLOUR = (255, 255, 255), (30, 30, 30), (225, 225, 225)
_LONGEST_NAME = 40


def write_quicklook(path: Path, classes: Path, layer: Layer, areas: MapAreas, title: str) -> None:
    """Draw a map of classes, and write the picture as PNG.

    Args:
        path: The picture to write.
        classes: The map.
        layer: Its layer, with names and colours of the classes.
        areas: The areas of its classes.
        title: What stands above the legend.

    Raises:
        UserError: If the map can't be read, or the picture can't be written.
    """
    picture = draw_quicklook(classes, layer, areas, title)
    try:
        with replace_when_written(path) as temporary, temporary.open("wb") as file:
            picture.save(file, "PNG")
    except OSError as error:
        raise explain_write_error(path.parent, error) from error


def draw_quicklook(classes: Path, layer: Layer, areas: MapAreas, title: str) -> Image.Image:
    """Draw a map of classes, from its overviews, with the upper edge in the north if it can be.

    Args:
        classes: The map.
        layer: Its layer, with names and colours of the classes.
        areas: The areas of its classes.
        title: What stands above the legend.

    Raises:
        UserError: If the map can't be read.
    """
    numbers, metres = _read_small(classes)
    colours = np.full((256, 3), _NODATA_COLOUR, np.uint8)
    colours[: len(layer.colours)] = layer.colours
    picture = Image.fromarray(colours[numbers])
    legend = _draw_legend(layer, areas, title, metres, picture.width)
    size = (
        picture.width + legend.width + 3 * _SPACE,
        max(picture.height, legend.height) + 2 * _SPACE,
    )
    page = Image.new("RGB", size, _PAPER)
    page.paste(picture, (_SPACE, _SPACE))
    page.paste(legend, (picture.width + 2 * _SPACE, _SPACE))
    return page


def _read_small(path: Path) -> tuple[np.ndarray, float]:
    """Read a map at a small size, with square pixels; also their side in metres, 0 if unknown.

    Without a place, the side is that of pixels of the map, as a negative number.
    """
    bound_gdal_cache()
    with open_raster(path) as raster:
        place = Georeference.of(raster)
        height, width = place.measure_pixel(raster.shape)
        is_placed = bool(height and width)
        if not is_placed:
            height = width = 1.0
        down, across = raster.height * height, raster.width * width
        side = max(down, across) / min(_LARGE, max(_SMALL, *raster.shape))
        shape = tuple(max(1, round(length / side)) for length in (down, across))
        numbers = raster.read(1, out_shape=shape, resampling=Resampling.nearest)
        if place.transform is not None:
            numbers = numbers[:: -1 if place.transform.e > 0 else 1]
            numbers = numbers[:, :: -1 if place.transform.a < 0 else 1]
    return numbers, side if is_placed else -side


def _draw_legend(
    layer: Layer, areas: MapAreas, title: str, metres: float, width: int
) -> Image.Image:
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), _TEXT)
    rows = [
        (_shorten(area.name), f"{area.percent:.1f} %", colour)
        for area, colour in zip(areas.classes, layer.colours, strict=True)
    ]
    if areas.nodata.pixels:
        rows.append((areas.nodata.name, "", _NODATA_COLOUR))
    length, label = _choose_scale(metres, width)
    name_width = max(math.ceil(font.getlength(name)) for name, _, _ in rows)
    share_width = max(math.ceil(font.getlength(share)) for _, share, _ in rows)
    line = _SQUARE + _SPACE // 2
    needed = _SQUARE + name_width + share_width + 3 * _SPACE
    titles = _wrap(title, font, max(needed, 16 * _TEXT))
    size = (
        max(needed, length + 2, *(math.ceil(font.getlength(text)) for text in (*titles, label))),
        line * (len(titles) + len(rows) + 3),
    )
    legend = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(legend)
    for index, text in enumerate(titles):
        draw.text((0, index * line), text, _INK, font)
    top = line * len(titles) + _SPACE // 2
    for index, (name, share, colour) in enumerate(rows):
        y = top + index * line
        draw.rectangle((0, y, _SQUARE, y + _SQUARE), colour, _INK)
        draw.text((_SQUARE + _SPACE, y), name, _INK, font)
        draw.text((needed - font.getlength(share), y), share, _INK, font)
    y = top + len(rows) * line + _SPACE
    draw.line((0, y, length, y), _INK, 3)
    for x in (1, length):
        draw.line((x, y - 5, x, y + 5), _INK, 3)
    draw.text((0, y + 8), label, _INK, font)
    return legend


def _choose_scale(side: float, width: int) -> tuple[int, str]:
    """Choose a round length of up to a quarter of the map: in pixels of the picture, and in words.

    Args:
        side: Side of a pixel of the picture, in metres, or as a negative number in the map's.
        width: Width of the picture of the map.
    """
    limit = max(width, 80) / 4 * abs(side)
    power = 10 ** math.floor(math.log10(limit))
    length = max(step * power for step in (1, 2, 5) if step * power <= limit)
    unit, factor = ("km", 1000) if length >= 1000 else ("m", 1)
    if side < 0:
        unit, factor = "pixels", 1
    return max(1, round(length / abs(side))), f"{length / factor:g} {unit}"


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> Sequence[str]:
    """Split a text into lines that fit into a width, in pixels."""
    lines, line = [], ""
    for character in text:
        if font.getlength(line + character) > width:
            lines.append(line)
            line = ""
        line += character
    return [*lines, line]
