"""What the pixels of a mask mean: class numbers or colours."""

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import check_raster

__all__ = ["IGNORE_LABEL", "ColourLegend", "Legend", "NumberLegend"]

# Of stored masks: pixels of no class.
IGNORE_LABEL = 255


class Legend(Protocol):
    """What the pixels of a mask mean."""

    def check(self, file: File, raster: Any) -> None:
        """Whether a file can be such a mask. Raises UserError."""

    def classes(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """(bands, h, w) pixels of a file -> (h, w) uint8 class numbers. Raises UserError."""


@dataclass(frozen=True)
class ColourLegend:
    """Each class has a colour; a pixel of any other is of no class.

    Attributes:
        colours: red, green and blue of each class, 0..255.
        bits: of each channel that count, from the top: 8 for the exact colour, 1 for whether the
            channel is nearer to 255 than to 0, which survives lossy compression.
    """

    colours: tuple[tuple[int, int, int], ...]
    bits: int = 8

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        check_raster(file, raster, bands=3, dtype="uint8")

    def classes(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """See `Legend`."""
        return _class_of_code(self)[_codes(pixels, self.bits)]


@dataclass(frozen=True)
class NumberLegend:
    """Pixels are class numbers, from 0.

    Attributes:
        count: of classes.
        ignore: the number of pixels that are of no class.
    """

    count: int
    ignore: int

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        check_raster(file, raster, bands=1)
        if not np.issubdtype(np.dtype(raster.dtypes[0]), np.integer):
            raise UserError(
                f"file {file}: its pixels are {raster.dtypes[0]}; expected whole numbers of classes"
            )

    def classes(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """See `Legend`."""
        numbers = pixels[0]
        known = (numbers >= 0) & (numbers < self.count)
        others = numbers[~known & (numbers != self.ignore)]
        if others.size:
            raise UserError(
                f"file {file}: has pixels of value {others[0]}; expected the numbers 0 to "
                f"{self.count - 1} of the {self.count} classes, or {self.ignore} for none: name "
                "the classes that lack, or set --config.ignore_label"
            )
        return np.where(known, numbers, IGNORE_LABEL).astype(np.uint8)


def _codes(pixels: np.ndarray, bits: int) -> np.ndarray:
    """(3, ...) uint8 colours -> (...) uint8 or uint32: the upper bits of each, side by side."""
    kind = np.uint8 if 3 * bits <= 8 else np.uint32
    red, green, blue = ((channel >> (8 - bits)).astype(kind) for channel in pixels)
    return red << 2 * bits | green << bits | blue


@functools.lru_cache(maxsize=1)
def _class_of_code(legend: ColourLegend) -> np.ndarray:
    """(codes,) uint8: the class of every colour there can be; 16 MB if all bits count."""
    table = np.full(2 ** (3 * legend.bits), IGNORE_LABEL, np.uint8)
    colours = np.array(legend.colours, np.uint8).T
    table[_codes(colours, legend.bits)] = np.arange(len(legend.colours))
    return table
