"""Places of a scene at which a few pixels are read, to see what all of it is like."""

import math
from collections.abc import Iterator

__all__ = ["ENOUGH", "find_places"]

# Number of places with data that suffices; places to look at for them, and their side in pixels.
ENOUGH = 9
_MAX_PLACES, _SIDE = 64, 64
# Steps of an even sequence in the plane (Roberts 2018, "The unreasonable effectiveness of
# quasirandom sequences"): powers of the inverse of the root of x³ = x + 1.
_ROOT = 1.32471795724474602596
_STEPS = (1 / _ROOT, 1 / _ROOT**2)


def find_places(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Find windows that are evenly spread over a scene, however many of them are read.

    The first is the last corner, which a truncated file lacks.

    Args:
        height: Height of the scene, in pixels.
        width: Width of the scene, in pixels.

    Yields:
        Top, left, height and width of a window.
    """
    sides = min(height, _SIDE), min(width, _SIDE)
    free = height - sides[0], width - sides[1]
    yield *free, *sides
    for index in range(_MAX_PLACES - 1 if any(free) else 0):
        down, right = (math.modf(0.5 + (index + 1) * step)[0] for step in _STEPS)
        yield round(down * free[0]), round(right * free[1]), *sides
