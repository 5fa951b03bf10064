"""Colours of classes that have none."""

from collections.abc import Sequence

__all__ = ["PALETTE", "Colour", "choose_colours"]

Colour = tuple[int, int, int]

# Okabe and Ito's seven colours (2008, "Color Universal Design"), and those of a regular grid that
# are each the farthest from all before, in CIELAB, for people with all cones and for those who lack
# one of the three kinds (Machado et al. 2009). Greys, near white and near black are left out.
PALETTE: tuple[Colour, ...] = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178)),
    *((213, 94, 0), (204, 121, 167), (135, 0, 240), (105, 45, 15), (195, 240, 195)),
    *((60, 60, 90), (105, 255, 135), (150, 120, 255), (225, 0, 75), (60, 60, 180)),
    *((90, 30, 120), (180, 165, 75), (255, 180, 210), (135, 195, 135), (60, 105, 60)),
    *((150, 60, 0), (135, 90, 120), (165, 240, 255), (195, 15, 165)),
)
# Each further round of the palette is darker by this factor.
_DARKER = 0.7


def choose_colours(count: int, given: Sequence[Sequence[int]] = ()) -> tuple[Colour, ...]:
    """Choose the colours of classes.

    Args:
        count: Number of classes.
        given: Red, green and blue, 0 to 255, of the first classes; empty where a class has none.

    Returns:
        The given colours, and for the other classes colours that differ from them.
    """
    known = [tuple(map(int, colour)) for colour in (*given, *((),) * count)][:count]
    rounds = range(count // len(PALETTE) + 2)
    free = (
        colour
        for number in rounds
        for red, green, blue in PALETTE
        if (colour := tuple(round(part * _DARKER**number) for part in (red, green, blue)))
        not in known
    )
    return tuple((c[0], c[1], c[2]) for c in (colour or next(free) for colour in known))
