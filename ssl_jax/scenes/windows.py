"""Where windows lie on a picture."""

from itertools import product
from typing import NamedTuple

__all__ = ["Window", "make_windows"]


class Window(NamedTuple):
    """A part of a picture, in pixels from its upper left corner."""

    top: int
    left: int
    height: int
    width: int


def make_windows(height: int, width: int, side: int, stride: int) -> list[Window]:
    """Square windows that see every pixel of a picture, row by row from the upper left.

    As mmsegmentation's `slide_inference` (mmseg/models/segmentors/encoder_decoder.py) lays them:
    every `stride` pixels, the last ones shifted back to the border; along an axis shorter than
    `side` there is one, as long as the picture.
    """
    down, across = min(side, height), min(side, width)
    places = product(_starts(height, down, stride), _starts(width, across, stride))
    return [Window(top, left, down, across) for top, left in places]


def _starts(size: int, side: int, stride: int) -> list[int]:
    """Where windows begin along an axis."""
    return [*range(0, size - side, stride), size - side]
