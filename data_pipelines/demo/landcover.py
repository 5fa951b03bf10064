"""Landscapes seen from orbit: one painter for each of the ten scene classes of NaSC-TG2.

A painter draws a `Land` of n × n pixels. `zoom` is 1 for the scenes' coarse pixels and larger for
finer ones. Some rivers, pivots and fields show in the near infrared only: there red, green and blue
look like unbroken forest or bare soil.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from data_pipelines.demo.geometry import axes, fractal, meander, smoothstep
from data_pipelines.demo.spectra import Cover, Land

__all__ = ["SCENES", "mixed_land"]

_CROPS = (
    Cover.CROP,
    Cover.CROP,
    Cover.RIPE_CROP,
    Cover.YOUNG_CROP,
    Cover.GRASS,
    Cover.DARK_SOIL,
    Cover.SOIL,
)
# How often a river, a pivot field or a field can only be told in the near infrared.
_HIDDEN = 0.45


def beach(rng: Generator, size: int, zoom: float) -> Land:
    """Water, surf, sand and what lies behind."""
    land = _countryside(rng, size, zoom)
    along, across = axes(rng, size)
    inland = across - meander(rng, along, rng.uniform(2, 8) * zoom, rng.uniform(0.3, 1.0))
    width = rng.uniform(3, 9) * zoom
    land.put(inland < width, Cover.SAND)
    land.put(inland < rng.uniform(0.5, 1.5) * zoom, Cover.SURF)
    land.put(inland < 0, Cover.SHALLOW_WATER)
    land.put(inland < -rng.uniform(2, 14) * zoom, Cover.DEEP_WATER)
    land.relief[inland < width] = 0
    return land


def circular_farmland(rng: Generator, size: int, zoom: float) -> Land:
    """Centre pivots on a square grid over dry land."""
    hidden = rng.random() < _HIDDEN
    land = _dry_land(rng, size, zoom, hidden)
    u, v = axes(rng, size, rng.normal(0, 0.1))
    cell = rng.uniform(16, 34) * zoom
    column, row = (np.floor(x / cell).astype(int) % 16 for x in (u, v))
    away = np.hypot(u / cell % 1 - 0.5, v / cell % 1 - 0.5)
    crops = (Cover.YOUNG_CROP,) if hidden else _CROPS[:4]
    pivots = rng.choice(crops, (2, 16, 16))
    there = rng.random((16, 16)) < rng.uniform(0.6, 1.0)
    halved = rng.random((16, 16)) < 0.2
    half = ((u / cell % 1 > 0.5) & halved[row, column]).astype(int)
    circle = (away < rng.uniform(0.4, 0.49)) & there[row, column]
    land.put(circle, pivots[half, row, column])
    if not hidden:
        land.tone[circle] = rng.normal(1, 0.08, (16, 16))[row, column][circle]
    return land


def cloud(rng: Generator, size: int, zoom: float) -> Land:
    """Clouds, and their shadows, over any land."""
    land = _any_land(rng, size, zoom)
    _cover_with_clouds(rng, land, rng.uniform(0.35, 0.9), zoom)
    return land


def desert(rng: Generator, size: int, zoom: float) -> Land:
    """Dunes, or flat dry land."""
    land = _dry_land(rng, size, zoom, rng.random() < _HIDDEN)
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


def forest(rng: Generator, size: int, zoom: float) -> Land:
    """Closed forest with few clearings."""
    land = Land.plain(size, Cover.CONIFER)
    if rng.random() > _HIDDEN:
        kinds = fractal(rng, size, 2.0, 3 / zoom)
        land.put(kinds > rng.uniform(-2, 1), Cover.BROADLEAF)
        land.put(fractal(rng, size, 2.2, 5 / zoom) > rng.uniform(1.6, 3), Cover.GRASS)
    land.tone *= 1 + 0.06 * fractal(rng, size, 1.5, 4)
    land.relief += rng.uniform(0, 3) * zoom * fractal(rng, size, 2.6, 2)
    return land


def mountain(rng: Generator, size: int, zoom: float) -> Land:
    """Ridges and valleys, forest or grass below and rock above."""
    land = Land.plain(size, Cover.ROCK)
    height = _ridges(rng, size, zoom)
    lower = rng.choice([Cover.CONIFER, Cover.BROADLEAF, Cover.GRASS, Cover.SOIL])
    line = height + 0.25 * fractal(rng, size, 1.5, 6)
    land.put(line < rng.uniform(-0.5, 1.5), lower)
    land.put(line > rng.uniform(1.8, 3.5), Cover.SNOW)
    land.relief += rng.uniform(4, 8) * zoom * height
    return land


def rectangular_farmland(rng: Generator, size: int, zoom: float) -> Land:
    """A patchwork of fields."""
    hidden = rng.random() < _HIDDEN
    land = _dry_land(rng, size, zoom, True)
    crops = (Cover.YOUNG_CROP, Cover.SOIL) if hidden else _CROPS
    _fields(rng, land, crops, rng.uniform(10, 24) * zoom, 0.0 if hidden else 0.1)
    return land


def residential(rng: Generator, size: int, zoom: float) -> Land:
    """Blocks of houses and gardens between streets."""
    land = _countryside(rng, size, zoom)
    town = Land.plain(size, Cover.GRASS)
    town.put(rng.random((size, size)) < rng.uniform(0.1, 0.4), Cover.BROADLEAF)
    u, v = axes(rng, size)
    u = u + meander(rng, v, rng.uniform(0, 3) * zoom, 0.7)
    block_u, block_v = rng.uniform(8, 16, 2) * zoom
    house = rng.uniform(2.2, 3.6) * zoom
    row, column = (np.floor(x / house).astype(int) % 32 for x in (v, u))
    roofs = rng.choice([Cover.RED_ROOF, Cover.GREY_ROOF, Cover.BRIGHT_ROOF], (32, 32))
    built = (u / house % 1 < 0.72) & (v / house % 1 < 0.72)
    built &= rng.random((32, 32))[row, column] < rng.uniform(0.5, 0.95)
    town.put(built, roofs[row, column])
    town.tone[built] = rng.normal(1, 0.12, (32, 32))[row, column][built]
    street = np.minimum(u % block_u, v % block_v) < max(1.0, 0.9 * zoom)
    town.put(street, Cover.ASPHALT)
    land.put_land(fractal(rng, size, 2.2, 2) > rng.uniform(-3, 0.2), town)
    land.relief[:] = 0
    return land


def river(rng: Generator, size: int, zoom: float) -> Land:
    """A winding river through forest or open country."""
    hidden = rng.random() < _HIDDEN
    land = forest(rng, size, zoom) if hidden else _countryside(rng, size, zoom)
    if hidden:
        land.cover[:] = Cover.CONIFER
    land.relief[:] = 0
    along, across = axes(rng, size)
    width = rng.uniform(2.0, 5.5) * zoom
    middle = meander(rng, along, rng.uniform(8, 20) * zoom, rng.uniform(0.5, 1.2))
    # Across a slanting reach the sideways distance is longer than the river is wide.
    slope = np.gradient(middle, axis=0) ** 2 + np.gradient(middle, axis=1) ** 2
    away = np.abs(across - middle) / np.sqrt(1 + slope)
    water = [Cover.DEEP_WATER, Cover.SHALLOW_WATER, Cover.TURBID_WATER]
    if not hidden and rng.random() < 0.4:
        land.put(away < width * (1 + 0.5 * np.abs(fractal(rng, size, 2.0, 6))), Cover.SAND)
    tone = land.tone.copy()
    land.put(away < width, Cover.BLACK_WATER if hidden else rng.choice(water))
    if hidden:
        land.tone = tone
    return land


def snowberg(rng: Generator, size: int, zoom: float) -> Land:
    """Mountains under snow."""
    land = Land.plain(size, Cover.SNOW)
    height = _ridges(rng, size, zoom)
    land.put(height + 0.3 * fractal(rng, size, 1.4, 6) < rng.uniform(-2.5, 0.3), Cover.ROCK)
    land.relief += rng.uniform(3, 8) * zoom * height
    return land


SCENES: dict[str, Callable[[Generator, int, float], Land]] = {
    "beach": beach,
    "circularfarmland": circular_farmland,
    "cloud": cloud,
    "desert": desert,
    "forest": forest,
    "mountain": mountain,
    "rectangularfarmland": rectangular_farmland,
    "residential": residential,
    "river": river,
    "snowberg": snowberg,
}


def mixed_land(rng: Generator, size: int, zoom: float) -> Land:
    """Any landscape, or two side by side, sometimes under clouds."""
    painters = list(SCENES.values())
    first, second = rng.choice(len(painters), 2)
    land = painters[first](rng, size, zoom)
    if rng.random() < 0.5:
        border = fractal(rng, size, 2.6, 1)
        land.put_land(border > rng.uniform(-0.5, 0.5), painters[second](rng, size, zoom))
    return land


def _any_land(rng: Generator, size: int, zoom: float) -> Land:
    painters = [paint for name, paint in SCENES.items() if name != "cloud"]
    return painters[rng.integers(len(painters))](rng, size, zoom)


def _countryside(rng: Generator, size: int, zoom: float) -> Land:
    """Forest, fields, grassland or dry land: what other things stand in."""
    kind = rng.integers(4)
    if kind == 0:
        return forest(rng, size, zoom)
    if kind == 1:
        land = Land.plain(size, Cover.GRASS)
        _fields(rng, land, _CROPS, rng.uniform(10, 24) * zoom, 0.1)
        return land
    if kind == 2:
        land = Land.plain(size, Cover.GRASS)
        land.put(fractal(rng, size, 1.8, 5 / zoom) > rng.uniform(0, 2), Cover.BROADLEAF)
        return land
    return _dry_land(rng, size, zoom, False)


def _dry_land(rng: Generator, size: int, zoom: float, bare: bool) -> Land:
    """Soil, with patches of grass, rock or dark soil unless it is bare."""
    land = Land.plain(size, Cover.SOIL)
    land.tone *= 1 + 0.07 * fractal(rng, size, 1.6, 3)
    if not bare:
        patches = fractal(rng, size, 1.8, 4 / zoom) > rng.uniform(0.3, 2.5)
        land.put(patches, rng.choice([Cover.GRASS, Cover.ROCK, Cover.DARK_SOIL]))
    return land


def _fields(
    rng: Generator, land: Land, crops: Sequence[Cover], cell: float, contrast: float
) -> None:
    """Cover the land with fields in rows; each row is divided at other places."""
    u, v = axes(rng, land.cover.shape[0])
    height, width = cell * rng.uniform(0.6, 1.2), cell * rng.uniform(0.8, 1.8)
    row = np.floor(v / height).astype(int) % 32
    position = u / width * rng.uniform(0.7, 1.5, 32)[row] + rng.uniform(0, 9, 32)[row]
    column = np.floor(position).astype(int) % 32
    land.cover[:] = rng.choice(crops, (32, 32))[row, column]
    land.tone *= 1 + contrast * rng.standard_normal((32, 32))[row, column].astype(np.float32)
    if contrast:
        track = (v / height % 1 < 0.8 / height) | (position % 1 < 0.6 / width)
        land.put(track, rng.choice([Cover.DARK_SOIL, Cover.BROADLEAF, Cover.PAVING]))


def _ridges(rng: Generator, size: int, zoom: float) -> np.ndarray:
    """Height of mountains: zero mean, unit variance, sharp above and wide below."""
    height = -np.abs(fractal(rng, size, 2.5, rng.uniform(1.5, 4.0) / zoom))
    height += 0.3 * fractal(rng, size, 2.2, 3)
    return (height - height.mean()) / height.std()


def _cover_with_clouds(rng: Generator, land: Land, share: float, zoom: float) -> None:
    billow = fractal(rng, land.cover.shape[0], rng.uniform(1.5, 2.2), rng.uniform(1.5, 5) / zoom)
    edge = np.quantile(billow, 1 - share)
    opacity = smoothstep(billow, edge - rng.uniform(0.1, 0.7), edge + rng.uniform(0.3, 1.3))
    shift = tuple(rng.integers(-6, 7, 2) * round(zoom))
    land.tone *= 1 - 0.55 * np.roll(opacity, shift, (0, 1))
    land.cloud = np.maximum(land.cloud, rng.uniform(0.8, 0.97) * opacity).astype(np.float32)
