"""A town seen from an aeroplane: streets, houses, gardens, trees, cars, and what lies about.

Objects are drawn from the ground upwards, each with its shadow. Artificial turf and green roofs can
be told from grass and trees in the near infrared only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from data_pipelines.demo.geometry import fractal
from data_pipelines.demo.spectra import Cover, Land
from data_pipelines.potsdam.nomenclature import CLASSES, COLOURS

__all__ = ["CLASSES", "COLOURS", "IGNORE_LABEL", "classes_of", "town"]

IGNORE_LABEL = 255

_COVERS = {
    "impervious": (Cover.ASPHALT, Cover.PAVING, Cover.TURF),
    "building": (Cover.RED_ROOF, Cover.GREY_ROOF, Cover.BRIGHT_ROOF, Cover.GREEN_ROOF),
    "low_vegetation": (Cover.GRASS, Cover.RIPE_CROP, Cover.CROP),
    "tree": (Cover.CONIFER, Cover.BROADLEAF),
    "car": (Cover.DARK_PAINT, Cover.BRIGHT_PAINT, Cover.RED_PAINT, Cover.BLUE_PAINT),
    "clutter": (Cover.RUBBLE, Cover.SHALLOW_WATER, Cover.SOIL),
}
_CLASS_OF = np.full(len(Cover), IGNORE_LABEL, np.uint8)
for _number, _name in enumerate(CLASSES):
    _CLASS_OF[list(_COVERS[_name])] = _number


def classes_of(land: Land) -> np.ndarray:
    """(n, n) uint8: the number in `CLASSES` of what covers each pixel."""
    return _CLASS_OF[land.cover]


@dataclass(frozen=True)
class Plan:
    """Where a town's streets run and its shadows fall.

    Attributes:
        u: (n, n) coordinates along the main street, in pixels.
        v: (n, n) coordinates across it.
        shadow: (along, across), the shadow of a thing one pixel high.
    """

    u: np.ndarray
    v: np.ndarray
    shadow: tuple[float, float]

    def box(self, u: float, v: float, length: float, width: float) -> np.ndarray:
        """(n, n) bool: a rectangle about (u, v)."""
        return (np.abs(self.u - u) < length / 2) & (np.abs(self.v - v) < width / 2)

    def box_shadow(
        self, u: float, v: float, length: float, width: float, height: float
    ) -> np.ndarray:
        """(n, n) bool: the shadow of such a rectangle, `height` pixels high."""
        steps = np.linspace(0, height, 2 + int(height / 3))
        along, across = self.shadow
        boxes = [self.box(u + k * along, v + k * across, length, width) for k in steps]
        return np.logical_or.reduce(boxes)


def town(rng: Generator, size: int) -> Land:
    """Draw a town; houses are a quarter to a half of 128 pixels long."""
    land = Land.plain(size, Cover.GRASS)
    land.put(fractal(rng, size, 1.8, 4) > rng.uniform(0.3, 2.0), Cover.RIPE_CROP)
    land.tone *= 1 + 0.1 * fractal(rng, size, 1.5, 5)
    row, column = np.indices((size, size), dtype=np.float32) - size / 2
    angle, sun = rng.uniform(0, 2 * np.pi, 2)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    reach = rng.uniform(0.3, 0.9)
    plan = Plan(
        cos * column + sin * row,
        cos * row - sin * column,
        (reach * float(np.cos(sun)), reach * float(np.sin(sun))),
    )
    street = _streets(rng, land, plan)
    _lots(rng, land, plan, street)
    _cars(rng, land, plan, street)
    _trees(rng, land, plan, size)
    return land


def _streets(rng: Generator, land: Land, plan: Plan) -> float:
    """Lay out the main street and perhaps a side street; where the main street's middle is."""
    middle, half = rng.uniform(-25, 25), rng.uniform(10.5, 13)
    away = np.abs(plan.v - middle)
    land.put(away < half + 5, Cover.PAVING)
    if rng.random() < 0.5:
        side = np.abs(plan.u - rng.uniform(-40, 40))
        land.put(side < half + 2, Cover.PAVING)
        land.put(side < half - 2, Cover.ASPHALT)
    land.put(away < half, Cover.ASPHALT)
    dashes = (away < 0.8) & (plan.u % 14 < 7)
    land.put(dashes, Cover.PAVING, 1.7)
    return float(middle)


def _lots(rng: Generator, land: Land, plan: Plan, street: float) -> None:
    """A row of lots on either side of the street: a house each, or a pitch, a yard, a heap."""
    reach = land.cover.shape[0]
    for side in (-1, 1):
        u = -reach * rng.uniform(0.7, 0.9)
        while u < reach * 0.75:
            length, depth = rng.uniform(28, 52), rng.uniform(20, 34)
            v = street + side * (19 + depth / 2 + rng.uniform(0, 12))
            middle = u + length / 2
            u += length + rng.uniform(8, 22)
            kind = rng.random()
            if kind < 0.66:
                _house(rng, land, plan, middle, v, length, depth)
            elif kind < 0.8:
                _pitch(rng, land, plan, middle, v, length, depth)
            elif kind < 0.9:
                _yard(rng, land, plan, middle, v, length, depth)


def _house(
    rng: Generator, land: Land, plan: Plan, u: float, v: float, length: float, depth: float
) -> None:
    """A house, perhaps with a wing, under a gabled or a flat roof."""
    roof = rng.choice([Cover.RED_ROOF, Cover.GREY_ROOF, Cover.BRIGHT_ROOF, Cover.GREEN_ROOF])
    parts = [(u, v, length, depth)]
    if rng.random() < 0.4:
        wing = length * rng.uniform(0.3, 0.5)
        parts.append((u + rng.choice([-0.5, 0.5]) * (length - wing), v, wing, depth * 1.5))
    height = rng.uniform(8, 20)
    for part in parts:
        land.tone[plan.box_shadow(*part, height)] *= 0.5
    gabled = rng.random() < 0.7
    slope = rng.uniform(0.08, 0.22) * np.sign(plan.shadow[1] or 1)
    for number, part in enumerate(parts):
        here = plan.box(*part)
        land.put(here, roof)
        if gabled:
            across = plan.v - v if number == 0 else plan.u - part[0]
            # The side away from the shadow faces the sun.
            land.tone[here] = 1 - slope * np.sign(across[here])
            land.tone[here & (np.abs(across) < 0.8)] = 1.25
        elif rng.random() < 0.7:
            hut = plan.box(part[0] + rng.uniform(-8, 8), part[1] + rng.uniform(-5, 5), 6, 4)
            land.tone[here & hut] = 0.7


def _pitch(
    rng: Generator, land: Land, plan: Plan, u: float, v: float, length: float, depth: float
) -> None:
    """A lawn or an artificial pitch, with lines: only the near infrared tells which."""
    here = plan.box(u, v, length, depth)
    land.put(here, rng.choice([Cover.TURF, Cover.GRASS]))
    line = here & ~plan.box(u, v, length - 3, depth - 3)
    land.tone[line] = 1.6


def _yard(
    rng: Generator, land: Land, plan: Plan, u: float, v: float, length: float, depth: float
) -> None:
    """A paved yard with a heap, a pool or bare soil."""
    land.put(plan.box(u, v, length, depth), Cover.PAVING)
    thing = rng.choice([Cover.RUBBLE, Cover.SHALLOW_WATER, Cover.SOIL])
    land.put(plan.box(u, v, length * rng.uniform(0.4, 0.7), depth * 0.5), thing)


def _cars(rng: Generator, land: Land, plan: Plan, street: float) -> None:
    """Cars in both lanes and parked at the kerb."""
    paints = [Cover.DARK_PAINT, Cover.BRIGHT_PAINT, Cover.RED_PAINT, Cover.BLUE_PAINT]
    for lane in (-8.6, -3.0, 3.0, 8.6):
        u = -land.cover.shape[0] * 0.75 + rng.uniform(0, 40)
        while u < land.cover.shape[0] * 0.75:
            length, width = rng.uniform(10, 13), rng.uniform(4.4, 5.4)
            place = (u, street + lane + rng.normal(0, 0.2))
            land.tone[plan.box_shadow(*place, length, width, 3)] *= 0.6
            land.put(plan.box(*place, length, width), rng.choice(paints))
            land.put(plan.box(place[0] + 0.15 * length, place[1], 2, width - 1), Cover.DARK_PAINT)
            u += length + rng.exponential(28) + 3


def _trees(rng: Generator, land: Land, plan: Plan, size: int) -> None:
    """Single trees, brighter on the side of the sun, over whatever stands below."""
    lump = 0.18 * fractal(rng, size, 1.2, 12)
    for _ in range(rng.poisson(9 * (size / 128) ** 2)):
        u, v = rng.uniform(-0.7, 0.7, 2) * size
        radius = rng.uniform(5, 11)
        height = radius * 1.3
        kind = rng.choice([Cover.BROADLEAF, Cover.BROADLEAF, Cover.CONIFER])
        du, dv = plan.u - u, plan.v - v
        along, across = plan.shadow
        shade = np.hypot(du - height * along, dv - height * across) < radius * (1 + lump)
        land.tone[shade] *= 0.55
        crown = np.hypot(du, dv) < radius * (1 + lump)
        light = 1 - 0.35 * (du * along + dv * across) / (radius * np.hypot(along, across))
        land.put(crown, kind)
        land.tone[crown] = (light + lump)[crown].clip(0.5, 1.6)
