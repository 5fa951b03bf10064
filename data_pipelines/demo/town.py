"""Land cover maps of a town in aerial images: streets, houses, gardens, trees, cars and clutter.

Objects are drawn from the ground upwards, each with its shadow. Artificial turf and green roofs
differ from grass and trees only in the near infrared.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from data_pipelines.demo.geometry import fractal
from data_pipelines.demo.spectra import Cover, Land
from data_pipelines.potsdam.nomenclature import CLASSES, COLOURS

__all__ = ["CLASSES", "COLOURS", "IGNORE_LABEL", "draw_town", "get_class_mask"]

IGNORE_LABEL = 255

_COVERS = {
    "impervious": (Cover.ASPHALT, Cover.PAVING, Cover.TURF),
    "building": (Cover.RED_ROOF, Cover.GREY_ROOF, Cover.BRIGHT_ROOF, Cover.GREEN_ROOF),
    "low_vegetation": (Cover.GRASS, Cover.RIPE_CROP, Cover.CROP),
    "tree": (Cover.CONIFER, Cover.BROADLEAF),
    "car": (Cover.DARK_PAINT, Cover.BRIGHT_PAINT, Cover.RED_PAINT, Cover.BLUE_PAINT),
    "clutter": (Cover.RUBBLE, Cover.SHALLOW_WATER, Cover.SOIL),
}
_CLASS_INDICES = np.full(len(Cover), IGNORE_LABEL, np.uint8)
for _index, _name in enumerate(CLASSES):
    _CLASS_INDICES[list(_COVERS[_name])] = _index


def get_class_mask(land: Land) -> np.ndarray:
    """Return the index in `CLASSES` of each pixel's cover, (n, n) uint8."""
    return _CLASS_INDICES[land.cover]


@dataclass(frozen=True)
class Plan:
    """Coordinate system of a town, and direction of its shadows.

    Attributes:
        u: (n, n) coordinates along the main street in pixels.
        v: (n, n) coordinates across the main street in pixels.
        shadow: (along, across) displacement of the shadow of an object per pixel of its height.
    """

    u: np.ndarray
    v: np.ndarray
    shadow: tuple[float, float]

    def box_mask(self, u: float, v: float, length: float, width: float) -> np.ndarray:
        """Return the mask, (n, n) bool, of a rectangle centred at (u, v)."""
        return (np.abs(self.u - u) < length / 2) & (np.abs(self.v - v) < width / 2)

    def box_shadow_mask(
        self, u: float, v: float, length: float, width: float, height: float
    ) -> np.ndarray:
        """Return the mask, (n, n) bool, of the shadow of a box that is `height` pixels high."""
        steps = np.linspace(0, height, 2 + int(height / 3))
        along, across = self.shadow
        boxes = [self.box_mask(u + k * along, v + k * across, length, width) for k in steps]
        return np.logical_or.reduce(boxes)


def draw_town(rng: Generator, size: int) -> Land:
    """Draw the land cover of a town.

    Args:
        rng: Random generator.
        size: Height and width n in pixels; does not change the size of objects. Houses are 28 to
            52 pixels long.
    """
    land = Land.make_uniform(size, Cover.GRASS)
    land.set_cover(fractal(rng, size, 1.8, 4) > rng.uniform(0.3, 2.0), Cover.RIPE_CROP)
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
    street_v = _draw_streets(rng, land, plan)
    _draw_plots(rng, land, plan, street_v)
    _draw_cars(rng, land, plan, street_v)
    _draw_trees(rng, land, plan, size)
    return land


def _draw_streets(rng: Generator, land: Land, plan: Plan) -> float:
    """Draw the main street and possibly a side street; returns `v` of the main street's centre."""
    centre, half_width = rng.uniform(-25, 25), rng.uniform(10.5, 13)
    distance = np.abs(plan.v - centre)
    land.set_cover(distance < half_width + 5, Cover.PAVING)
    if rng.random() < 0.5:
        side_distance = np.abs(plan.u - rng.uniform(-40, 40))
        land.set_cover(side_distance < half_width + 2, Cover.PAVING)
        land.set_cover(side_distance < half_width - 2, Cover.ASPHALT)
    land.set_cover(distance < half_width, Cover.ASPHALT)
    dashes = (distance < 0.8) & (plan.u % 14 < 7)
    land.set_cover(dashes, Cover.PAVING, 1.7)
    return float(centre)


def _draw_plots(rng: Generator, land: Land, plan: Plan, street_v: float) -> None:
    """Draw a row of plots on either side of the street, with a house, pitch, yard or nothing."""
    reach = land.cover.shape[0]
    for side in (-1, 1):
        u = -reach * rng.uniform(0.7, 0.9)
        while u < reach * 0.75:
            length, depth = rng.uniform(28, 52), rng.uniform(20, 34)
            v = street_v + side * (19 + depth / 2 + rng.uniform(0, 12))
            middle = u + length / 2
            u += length + rng.uniform(8, 22)
            kind = rng.random()
            if kind < 0.66:
                _draw_house(rng, land, plan, middle, v, length, depth)
            elif kind < 0.8:
                _draw_pitch(rng, land, plan, middle, v, length, depth)
            elif kind < 0.9:
                _draw_yard(rng, land, plan, middle, v, length, depth)


def _draw_house(
    rng: Generator, land: Land, plan: Plan, u: float, v: float, length: float, depth: float
) -> None:
    """Draw a house with a gabled or flat roof, and possibly a wing."""
    roof = rng.choice([Cover.RED_ROOF, Cover.GREY_ROOF, Cover.BRIGHT_ROOF, Cover.GREEN_ROOF])
    parts = [(u, v, length, depth)]
    if rng.random() < 0.4:
        wing = length * rng.uniform(0.3, 0.5)
        parts.append((u + rng.choice([-0.5, 0.5]) * (length - wing), v, wing, depth * 1.5))
    height = rng.uniform(8, 20)
    for part in parts:
        land.tone[plan.box_shadow_mask(*part, height)] *= 0.5
    gabled = rng.random() < 0.7
    slope = rng.uniform(0.08, 0.22) * np.sign(plan.shadow[1] or 1)
    for index, part in enumerate(parts):
        mask = plan.box_mask(*part)
        land.set_cover(mask, roof)
        if gabled:
            across = plan.v - v if index == 0 else plan.u - part[0]
            # The side away from the shadow faces the sun.
            land.tone[mask] = 1 - slope * np.sign(across[mask])
            land.tone[mask & (np.abs(across) < 0.8)] = 1.25
        elif rng.random() < 0.7:
            hut = plan.box_mask(part[0] + rng.uniform(-8, 8), part[1] + rng.uniform(-5, 5), 6, 4)
            land.tone[mask & hut] = 0.7


def _draw_pitch(
    rng: Generator, land: Land, plan: Plan, u: float, v: float, length: float, depth: float
) -> None:
    """Draw a lined pitch of grass or artificial turf, which differ only in the near infrared."""
    mask = plan.box_mask(u, v, length, depth)
    land.set_cover(mask, rng.choice([Cover.TURF, Cover.GRASS]))
    line = mask & ~plan.box_mask(u, v, length - 3, depth - 3)
    land.tone[line] = 1.6


def _draw_yard(
    rng: Generator, land: Land, plan: Plan, u: float, v: float, length: float, depth: float
) -> None:
    """Draw a paved yard with rubble, a pool or bare soil."""
    land.set_cover(plan.box_mask(u, v, length, depth), Cover.PAVING)
    content = rng.choice([Cover.RUBBLE, Cover.SHALLOW_WATER, Cover.SOIL])
    land.set_cover(plan.box_mask(u, v, length * rng.uniform(0.4, 0.7), depth * 0.5), content)


def _draw_cars(rng: Generator, land: Land, plan: Plan, street_v: float) -> None:
    """Draw cars in both lanes and parked at the kerb."""
    paints = [Cover.DARK_PAINT, Cover.BRIGHT_PAINT, Cover.RED_PAINT, Cover.BLUE_PAINT]
    for lane in (-8.6, -3.0, 3.0, 8.6):
        u = -land.cover.shape[0] * 0.75 + rng.uniform(0, 40)
        while u < land.cover.shape[0] * 0.75:
            length, width = rng.uniform(10, 13), rng.uniform(4.4, 5.4)
            position = (u, street_v + lane + rng.normal(0, 0.2))
            land.tone[plan.box_shadow_mask(*position, length, width, 3)] *= 0.6
            land.set_cover(plan.box_mask(*position, length, width), rng.choice(paints))
            windscreen = plan.box_mask(position[0] + 0.15 * length, position[1], 2, width - 1)
            land.set_cover(windscreen, Cover.DARK_PAINT)
            u += length + rng.exponential(28) + 3


def _draw_trees(rng: Generator, land: Land, plan: Plan, size: int) -> None:
    """Draw single trees over the other objects, brighter on the side of the sun."""
    irregularity = 0.18 * fractal(rng, size, 1.2, 12)
    for _ in range(rng.poisson(9 * (size / 128) ** 2)):
        u, v = rng.uniform(-0.7, 0.7, 2) * size
        radius = rng.uniform(5, 11)
        height = radius * 1.3
        kind = rng.choice([Cover.BROADLEAF, Cover.BROADLEAF, Cover.CONIFER])
        du, dv = plan.u - u, plan.v - v
        along, across = plan.shadow
        shade = np.hypot(du - height * along, dv - height * across) < radius * (1 + irregularity)
        land.tone[shade] *= 0.55
        crown = np.hypot(du, dv) < radius * (1 + irregularity)
        light = 1 - 0.35 * (du * along + dv * across) / (radius * np.hypot(along, across))
        land.set_cover(crown, kind)
        land.tone[crown] = (light + irregularity)[crown].clip(0.5, 1.6)
