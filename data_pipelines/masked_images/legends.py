"""Legends of masks: pixels are class numbers or colours."""

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import check_raster

__all__ = ["IGNORE_LABEL", "ColourLegend", "Legend", "NumberLegend"]

# Value of unlabelled pixels in stored masks.
IGNORE_LABEL = 255


class Legend(Protocol):
    """What the pixels of a mask mean."""

    def check(self, file: File, raster: Any) -> None:
        """Check the bands and dtype of a mask.

        Args:
            file: The mask's file, for error messages.
            raster: The opened file.

        Raises:
            UserError: If they don't suit this legend.
        """

    def decode(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """Decode the pixels of a mask to class numbers.

        Args:
            file: The mask's file, for error messages.
            pixels: (bands, h, w) pixels of the file.

        Returns:
            (h, w) uint8, with `IGNORE_LABEL` for unlabelled pixels.

        Raises:
            UserError: If a pixel has an invalid value.
        """


@dataclass(frozen=True)
class ColourLegend:
    """Each class has a colour; pixels of any other colour are unlabelled.

    Attributes:
        colours: Red, green and blue of each class, 0..255.
        bits: Number of most significant bits of each channel to compare: 8 for the exact colour, 1
            for whether the channel is nearer to 255 than to 0, which is robust to lossy
            compression.
    """

    colours: tuple[tuple[int, int, int], ...]
    bits: int = 8

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        check_raster(file, raster, bands=3, dtype="uint8")

    def decode(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """See `Legend`."""
        return _make_class_table(self)[_encode_colours(pixels, self.bits)]


@dataclass(frozen=True)
class NumberLegend:
    """Pixels are class numbers, from 0.

    Attributes:
        num_classes: Number of classes.
        ignore_label: Value of unlabelled pixels.
    """

    num_classes: int
    ignore_label: int

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        check_raster(file, raster, bands=1)
        if not np.issubdtype(np.dtype(raster.dtypes[0]), np.integer):
            raise UserError(
                f"file {file}: its pixels are {raster.dtypes[0]}; expected integer class numbers"
            )

    def decode(self, file: File, pixels: np.ndarray) -> np.ndarray:
        """See `Legend`."""
        numbers = pixels[0]
        is_class = (numbers >= 0) & (numbers < self.num_classes)
        invalid = numbers[~is_class & (numbers != self.ignore_label)]
        if invalid.size:
            raise UserError(
                f"file {file}: has pixels of value {invalid[0]}; expected the numbers 0 to "
                f"{self.num_classes - 1} of the {self.num_classes} classes, or "
                f"{self.ignore_label} for unlabelled pixels; add the missing names to "
                "--config.classes, or set --config.ignore_label"
            )
        return np.where(is_class, numbers, IGNORE_LABEL).astype(np.uint8)


def _encode_colours(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Concatenate the upper bits of the channels: (3, ...) uint8 -> (...) uint8 or uint32."""
    dtype = np.uint8 if 3 * bits <= 8 else np.uint32
    red, green, blue = ((channel >> (8 - bits)).astype(dtype) for channel in pixels)
    return red << 2 * bits | green << bits | blue


@functools.lru_cache(maxsize=1)
def _make_class_table(legend: ColourLegend) -> np.ndarray:
    """Make the (codes,) uint8 table of the class of every encoded colour; 16 MB for 8 bits."""
    table = np.full(2 ** (3 * legend.bits), IGNORE_LABEL, np.uint8)
    colours = np.array(legend.colours, np.uint8).T
    table[_encode_colours(colours, legend.bits)] = np.arange(len(legend.colours))
    return table
