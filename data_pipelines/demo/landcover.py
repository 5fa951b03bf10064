"""Land cover maps of satellite scenes: a drawing function for each scene class of NaSC-TG2.

A drawing function returns a random `Land` of n × n pixels. `zoom` is 1 for the coarse pixels of the
scenes and larger for finer pixels. Some rivers, pivots and fields are visible only in the near
infrared: in red, green and blue they look like continuous forest or bare soil.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from data_pipelines.demo.geometry import axes, fractal, meander, smoothstep
from data_pipelines.demo.spectra import Cover, Land

__all__ = ["SCENES", "draw_mixed_land"]

_CROPS = (
    Cover.CROP,
    Cover.CROP,
    Cover.RIPE_CROP,
    Cover.YOUNG_CROP,
    Cover.GRASS,
    Cover.DARK_SOIL,
    Cover.SOIL,
)
# Probability that rivers, pivots or fields are visible only in the near infrared.
_HIDDEN_PROBABILITY = 0.45


def draw_beach(rng: Generator, size: int, zoom: float) -> Land:
    """Draw water, surf, sand and the land behind."""
    land = _draw_countryside(rng, size, zoom)
    along, across = axes(rng, size)
    inland = across - meander(rng, along, rng.uniform(2, 8) * zoom, rng.uniform(0.3, 1.0))
    width = rng.uniform(3, 9) * zoom
    land.set_cover(inland < width, Cover.SAND)
    land.set_cover(inland < rng.uniform(0.5, 1.5) * zoom, Cover.SURF)
    land.set_cover(inland < 0, Cover.SHALLOW_WATER)
    land.set_cover(inland < -rng.uniform(2, 14) * zoom, Cover.DEEP_WATER)
    land.relief[inland < width] = 0
    return land


def draw_circular_farmland(rng: Generator, size: int, zoom: float) -> Land:
    """Draw centre pivots on a square grid over dry land."""
    hidden = rng.random() < _HIDDEN_PROBABILITY
    land = _draw_dry_land(rng, size, zoom, hidden)
    u, v = axes(rng, size, rng.normal(0, 0.1))
    spacing = rng.uniform(16, 34) * zoom
    column, row = (np.floor(x / spacing).astype(int) % 16 for x in (u, v))
    radius = np.hypot(u / spacing % 1 - 0.5, v / spacing % 1 - 0.5)
    crops = (Cover.YOUNG_CROP,) if hidden else _CROPS[:4]
    pivots = rng.choice(crops, (2, 16, 16))
    present = rng.random((16, 16)) < rng.uniform(0.6, 1.0)
    halved = rng.random((16, 16)) < 0.2
    half = ((u / spacing % 1 > 0.5) & halved[row, column]).astype(int)
    circle = (radius < rng.uniform(0.4, 0.49)) & present[row, column]
    land.set_cover(circle, pivots[half, row, column])
    if not hidden:
        land.tone[circle] = rng.normal(1, 0.08, (16, 16))[row, column][circle]
    return land


def draw_cloud(rng: Generator, size: int, zoom: float) -> Land:
    """Draw clouds and their shadows over a landscape of any other class."""
    land = _draw_cloudless_land(rng, size, zoom)
    _add_clouds(rng, land, rng.uniform(0.35, 0.9), zoom)
    return land


def draw_desert(rng: Generator, size: int, zoom: float) -> Land:
    """Draw dunes or flat dry land."""
    land = _draw_dry_land(rng, size, zoom, rng.random() < _HIDDEN_PROBABILITY)
    if rng.random() < 0.55:
        if rng.random() < 0.6:
            land.cover[:] = Cover.SAND
        along, across = axes(rng, size)
        across = across + meander(rng, along, 5 * zoom, 1.0)
        across += 4 * zoom * fractal(rng, size, 2.5, 2)
        period = rng.uniform(5, 14) * zoom
        phase = across / period % 1
        # A long windward slope and a short slip face.
        land.relief += 0.22 * period * np.minimum(phase / 0.75, (1 - phase) / 0.25)
    return land


def draw_forest(rng: Generator, size: int, zoom: float) -> Land:
    """Draw closed forest with few clearings."""
    land = Land.make_uniform(size, Cover.CONIFER)
    if rng.random() > _HIDDEN_PROBABILITY:
        kinds = fractal(rng, size, 2.0, 3 / zoom)
        land.set_cover(kinds > rng.uniform(-2, 1), Cover.BROADLEAF)
        land.set_cover(fractal(rng, size, 2.2, 5 / zoom) > rng.uniform(1.6, 3), Cover.GRASS)
    land.tone *= 1 + 0.06 * fractal(rng, size, 1.5, 4)
    land.relief += rng.uniform(0, 3) * zoom * fractal(rng, size, 2.6, 2)
    return land


def draw_mountain(rng: Generator, size: int, zoom: float) -> Land:
    """Draw ridges and valleys, with forest or grass below and rock above."""
    land = Land.make_uniform(size, Cover.ROCK)
    height = _draw_ridges(rng, size, zoom)
    lower = rng.choice([Cover.CONIFER, Cover.BROADLEAF, Cover.GRASS, Cover.SOIL])
    line = height + 0.25 * fractal(rng, size, 1.5, 6)
    land.set_cover(line < rng.uniform(-0.5, 1.5), lower)
    land.set_cover(line > rng.uniform(1.8, 3.5), Cover.SNOW)
    land.relief += rng.uniform(4, 8) * zoom * height
    return land


def draw_rectangular_farmland(rng: Generator, size: int, zoom: float) -> Land:
    """Draw a patchwork of fields."""
    hidden = rng.random() < _HIDDEN_PROBABILITY
    land = _draw_dry_land(rng, size, zoom, True)
    crops = (Cover.YOUNG_CROP, Cover.SOIL) if hidden else _CROPS
    _draw_fields(rng, land, crops, rng.uniform(10, 24) * zoom, 0.0 if hidden else 0.1)
    return land


def draw_residential(rng: Generator, size: int, zoom: float) -> Land:
    """Draw blocks of houses and gardens between streets."""
    land = _draw_countryside(rng, size, zoom)
    town = Land.make_uniform(size, Cover.GRASS)
    town.set_cover(rng.random((size, size)) < rng.uniform(0.1, 0.4), Cover.BROADLEAF)
    u, v = axes(rng, size)
    u = u + meander(rng, v, rng.uniform(0, 3) * zoom, 0.7)
    block_u, block_v = rng.uniform(8, 16, 2) * zoom
    house = rng.uniform(2.2, 3.6) * zoom
    row, column = (np.floor(x / house).astype(int) % 32 for x in (v, u))
    roofs = rng.choice([Cover.RED_ROOF, Cover.GREY_ROOF, Cover.BRIGHT_ROOF], (32, 32))
    built = (u / house % 1 < 0.72) & (v / house % 1 < 0.72)
    built &= rng.random((32, 32))[row, column] < rng.uniform(0.5, 0.95)
    town.set_cover(built, roofs[row, column])
    town.tone[built] = rng.normal(1, 0.12, (32, 32))[row, column][built]
    street = np.minimum(u % block_u, v % block_v) < max(1.0, 0.9 * zoom)
    town.set_cover(street, Cover.ASPHALT)
    land.paste(fractal(rng, size, 2.2, 2) > rng.uniform(-3, 0.2), town)
    land.relief[:] = 0
    return land


def draw_river(rng: Generator, size: int, zoom: float) -> Land:
    """Draw a meandering river through forest or open country."""
    hidden = rng.random() < _HIDDEN_PROBABILITY
    land = draw_forest(rng, size, zoom) if hidden else _draw_countryside(rng, size, zoom)
    if hidden:
        land.cover[:] = Cover.CONIFER
    land.relief[:] = 0
    along, across = axes(rng, size)
    width = rng.uniform(2.0, 5.5) * zoom
    middle = meander(rng, along, rng.uniform(8, 20) * zoom, rng.uniform(0.5, 1.2))
    # Where the river runs obliquely, the lateral distance exceeds the perpendicular distance.
    slope = np.gradient(middle, axis=0) ** 2 + np.gradient(middle, axis=1) ** 2
    distance = np.abs(across - middle) / np.sqrt(1 + slope)
    water = [Cover.DEEP_WATER, Cover.SHALLOW_WATER, Cover.TURBID_WATER]
    if not hidden and rng.random() < 0.4:
        land.set_cover(
            distance < width * (1 + 0.5 * np.abs(fractal(rng, size, 2.0, 6))), Cover.SAND
        )
    tone = land.tone.copy()
    land.set_cover(distance < width, Cover.BLACK_WATER if hidden else rng.choice(water))
    if hidden:
        land.tone = tone
    return land


def draw_snowberg(rng: Generator, size: int, zoom: float) -> Land:
    """Draw mountains under snow."""
    land = Land.make_uniform(size, Cover.SNOW)
    height = _draw_ridges(rng, size, zoom)
    land.set_cover(height + 0.3 * fractal(rng, size, 1.4, 6) < rng.uniform(-2.5, 0.3), Cover.ROCK)
    land.relief += rng.uniform(3, 8) * zoom * height
    return land


SCENES: dict[str, Callable[[Generator, int, float], Land]] = {
    "beach": draw_beach,
    "circularfarmland": draw_circular_farmland,
    "cloud": draw_cloud,
    "desert": draw_desert,
    "forest": draw_forest,
    "mountain": draw_mountain,
    "rectangularfarmland": draw_rectangular_farmland,
    "residential": draw_residential,
    "river": draw_river,
    "snowberg": draw_snowberg,
}


def draw_mixed_land(rng: Generator, size: int, zoom: float) -> Land:
    """Draw a landscape of a random class, or of two classes next to each other.

    Args:
        rng: Random generator.
        size: Height and width n in pixels.
        zoom: Scale of the features; larger for finer pixels.
    """
    functions = list(SCENES.values())
    first, second = rng.choice(len(functions), 2)
    land = functions[first](rng, size, zoom)
    if rng.random() < 0.5:
        border = fractal(rng, size, 2.6, 1)
        land.paste(border > rng.uniform(-0.5, 0.5), functions[second](rng, size, zoom))
    return land


def _draw_cloudless_land(rng: Generator, size: int, zoom: float) -> Land:
    functions = [draw for name, draw in SCENES.items() if name != "cloud"]
    return functions[rng.integers(len(functions))](rng, size, zoom)


def _draw_countryside(rng: Generator, size: int, zoom: float) -> Land:
    """Draw forest, fields, grassland or dry land, as the background of other features."""
    kind = rng.integers(4)
    if kind == 0:
        return draw_forest(rng, size, zoom)
    if kind == 1:
        land = Land.make_uniform(size, Cover.GRASS)
        _draw_fields(rng, land, _CROPS, rng.uniform(10, 24) * zoom, 0.1)
        return land
    if kind == 2:
        land = Land.make_uniform(size, Cover.GRASS)
        land.set_cover(fractal(rng, size, 1.8, 5 / zoom) > rng.uniform(0, 2), Cover.BROADLEAF)
        return land
    return _draw_dry_land(rng, size, zoom, False)


def _draw_dry_land(rng: Generator, size: int, zoom: float, bare: bool) -> Land:
    """Draw soil, with patches of grass, rock or dark soil unless `bare`."""
    land = Land.make_uniform(size, Cover.SOIL)
    land.tone *= 1 + 0.07 * fractal(rng, size, 1.6, 3)
    if not bare:
        patches = fractal(rng, size, 1.8, 4 / zoom) > rng.uniform(0.3, 2.5)
        land.set_cover(patches, rng.choice([Cover.GRASS, Cover.ROCK, Cover.DARK_SOIL]))
    return land


def _draw_fields(
    rng: Generator, land: Land, crops: Sequence[Cover], field_size: float, contrast: float
) -> None:
    """Cover the land with rows of fields; each row is divided at other positions."""
    u, v = axes(rng, land.cover.shape[0])
    height, width = field_size * rng.uniform(0.6, 1.2), field_size * rng.uniform(0.8, 1.8)
    row = np.floor(v / height).astype(int) % 32
    position = u / width * rng.uniform(0.7, 1.5, 32)[row] + rng.uniform(0, 9, 32)[row]
    column = np.floor(position).astype(int) % 32
    land.cover[:] = rng.choice(crops, (32, 32))[row, column]
    land.tone *= 1 + contrast * rng.standard_normal((32, 32))[row, column].astype(np.float32)
    if contrast:
        track = (v / height % 1 < 0.8 / height) | (position % 1 < 0.6 / width)
        land.set_cover(track, rng.choice([Cover.DARK_SOIL, Cover.BROADLEAF, Cover.PAVING]))


def _draw_ridges(rng: Generator, size: int, zoom: float) -> np.ndarray:
    """Draw mountain heights with zero mean, unit variance, sharp ridges and wide valleys."""
    height = -np.abs(fractal(rng, size, 2.5, rng.uniform(1.5, 4.0) / zoom))
    height += 0.3 * fractal(rng, size, 2.2, 3)
    return (height - height.mean()) / height.std()


def _add_clouds(rng: Generator, land: Land, fraction: float, zoom: float) -> None:
    density = fractal(rng, land.cover.shape[0], rng.uniform(1.5, 2.2), rng.uniform(1.5, 5) / zoom)
    edge = np.quantile(density, 1 - fraction)
    opacity = smoothstep(density, edge - rng.uniform(0.1, 0.7), edge + rng.uniform(0.3, 1.3))
    shift = tuple(rng.integers(-6, 7, 2) * round(zoom))
    land.tone *= 1 - 0.55 * np.roll(opacity, shift, (0, 1))
    land.cloud = np.maximum(land.cloud, rng.uniform(0.8, 0.97) * opacity).astype(np.float32)
