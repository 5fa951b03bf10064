"""Positions of the windows that cover an image."""

from itertools import product
from typing import NamedTuple

__all__ = ["Window", "make_windows"]


class Window(NamedTuple):
    """A rectangle of an image.

    Attributes:
        top: Row of its upper edge, in pixels.
        left: Column of its left edge, in pixels.
        height: Height, in pixels.
        width: Width, in pixels.
    """

    top: int
    left: int
    height: int
    width: int


def make_windows(height: int, width: int, side: int, stride: int) -> list[Window]:
    """Make the square windows that cover an image, row by row from the upper left.

    Their positions are those of mmsegmentation's `slide_inference`
    (mmseg/models/segmentors/encoder_decoder.py): every `stride` pixels, except that the last ones
    are shifted back to end at the border. Along an axis shorter than `side` there is one window as
    long as the image.

    Args:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        side: Side of a window, in pixels.
        stride: Distance between neighbouring windows, in pixels.
    """
    window_height, window_width = min(side, height), min(side, width)
    positions = product(
        _make_offsets(height, window_height, stride), _make_offsets(width, window_width, stride)
    )
    return [Window(top, left, window_height, window_width) for top, left in positions]


def _make_offsets(size: int, side: int, stride: int) -> list[int]:
    """Return the offsets of windows along an axis, in pixels."""
    return [*range(0, size - side, stride), size - side]
