"""Legends of masks: pixels are class numbers or colours."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from rasterio.enums import ColorInterp

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import check_raster
from data_pipelines.imagery.headers import Header, describe_raster

__all__ = [
    "IGNORE_LABEL",
    "ColourLegend",
    "Legend",
    "NumberLegend",
    "read_colours",
    "read_numbers",
    "suggest_values",
]

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

    def read(self, file: File, raster: Any, window: Any = None) -> np.ndarray:
        """Read a mask as class numbers.

        Args:
            file: The mask's file, for error messages.
            raster: The opened file.
            window: The part to read; all by default.

        Returns:
            (h, w) uint8, with `IGNORE_LABEL` for unlabelled pixels.

        Raises:
            UserError: If a pixel has an invalid value.
        """


@dataclass(frozen=True)
class ColourLegend:
    """Each class has a colour; pixels of any other colour are unlabelled.

    Masks may have a palette, and be grey if at least two classes are. Transparent pixels are
    unlabelled.

    Attributes:
        colours: Red, green and blue of each class, 0..255.
        bits: Number of most significant bits of each channel to compare: 8 for the exact colour, 1
            for whether the channel is nearer to 255 than to 0, which is robust to lossy
            compression.
        tolerance: Largest difference in any channel from the nearest class's colour.
    """

    colours: tuple[tuple[int, int, int], ...]
    bits: int = 8
    tolerance: int = 0

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        greys = [colour for colour in self.colours if len(set(colour)) == 1]
        is_grey = raster.count == 1 and ColorInterp.palette not in raster.colorinterp
        if raster.count not in (1, 3, 4) or (is_grey and len(greys) < 2):
            check_raster(file, raster, bands=3)
        check_raster(file, raster, dtype="uint8")

    def read(self, file: File, raster: Any, window: Any = None) -> np.ndarray:
        """See `Legend`."""
        colours, is_hidden = read_colours(file, raster, window)
        classes = self.find_classes(colours)
        classes[is_hidden] = IGNORE_LABEL
        return classes

    def find_classes(self, colours: np.ndarray) -> np.ndarray:
        """Return the (h, w) uint8 classes of (3, h, w) uint8 colours."""
        return _make_class_table(self)[_encode_colours(colours, self.bits)]


@dataclass(frozen=True)
class NumberLegend:
    """Each class has a number.

    Masks may hold one number in each of three bands, and whole numbers as floats. Transparent
    pixels, NaN, and the mask's own no-data value, unless it is the number of a class, are
    unlabelled.

    Attributes:
        values: The number of each class.
        ignore_label: Value of unlabelled pixels.
    """

    values: tuple[int, ...]
    ignore_label: int = IGNORE_LABEL

    def check(self, file: File, raster: Any) -> None:
        """See `Legend`."""
        if raster.count > 4:
            check_raster(file, raster, bands=1)
        if np.dtype(raster.dtypes[0]).kind not in "uif":
            raise UserError(f"file {file}: its pixels are {raster.dtypes[0]}; expected numbers")

    def read(self, file: File, raster: Any, window: Any = None) -> np.ndarray:
        """See `Legend`."""
        numbers, is_hidden = read_numbers(file, raster, window)
        values = np.asarray(self.values)
        order = np.argsort(values)
        ranks = np.searchsorted(values, numbers, sorter=order).clip(max=len(values) - 1)
        classes = order[ranks]
        is_class = (values[classes] == numbers) & ~is_hidden
        is_unlabelled = is_hidden | (numbers == self.ignore_label)
        if raster.nodata is not None:
            is_unlabelled |= numbers == raster.nodata
        is_invalid = ~(is_class | is_unlabelled)
        if is_invalid.any():
            raise UserError(self._format_error(file, numbers[is_invalid][0], numbers[~is_hidden]))
        return np.where(is_class, classes, IGNORE_LABEL).astype(np.uint8)

    def _format_error(self, file: File, invalid: Any, numbers: np.ndarray) -> str:
        count = len(self.values)
        found = np.unique(numbers).tolist()
        numbered = f"0 to {count - 1}" if self.values == (*range(count),) else str(self.values)
        return (
            f"file {file}: has pixels of value {invalid:g}; expected the numbers {numbered} of "
            f"the {count} classes, or {self.ignore_label} for unlabelled pixels; "
            f"{suggest_values(found, count, self.ignore_label)}"
        )


def suggest_values(found: Sequence[float], count: int, ignore_label: int) -> str:
    """Suggest the fields of the config that give each class its number.

    Args:
        found: The numbers in some masks, in ascending order.
        count: Number of classes.
        ignore_label: Value of unlabelled pixels.
    """
    listed = ", ".join(f"{number:g}" for number in found[:12]) + ", …" * (len(found) > 12)
    labelled = [number for number in found if number != ignore_label]
    beyond_0 = [number for number in labelled if number != 0]
    if any(number != int(number) for number in found):
        return f"found {listed}: expected whole numbers"
    for numbers, further in ((labelled, ""), (beyond_0, " --config.ignore_label=0")):
        if len(numbers) == count:
            values = ",".join(f"{number:g}" for number in numbers)
            return f"found {listed}: if these are the classes, --config.values={values}{further}"
    return (
        f"found {listed}: expected a name for each in --config.classes, and each class's number, "
        "unless they count from 0, as --config.values=NUMBER,NUMBER"
    )


def read_numbers(
    file: File, raster: Any, window: Any = None, out_shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read the numbers of a mask.

    Args:
        file: The mask's file, for error messages.
        raster: The opened file.
        window: The part to read; all by default.
        out_shape: Height and width to which the mask is subsampled; its own by default.

    Returns:
        (h, w) numbers, and (h, w) bool where there are none: transparent pixels, and NaN as 0.

    Raises:
        UserError: If the bands hold different numbers.
    """
    header, pixels, is_hidden = _read_bands(file, raster, window, out_shape)
    if header.alpha:
        is_hidden |= pixels[header.alpha - 1] == 0
        pixels = np.delete(pixels, header.alpha - 1, axis=0)
    if pixels.dtype.kind == "f":
        is_hidden |= np.isnan(pixels).any(axis=0)
        pixels = np.nan_to_num(pixels)
    if (pixels != pixels[0]).any():
        raise UserError(
            f"file {file}: has {len(pixels)} bands that differ, as colours do; expected 1 of "
            "numbers, or --config.colours=((RED,GREEN,BLUE),…) with the colour of each class"
        )
    return pixels[0], is_hidden


def read_colours(
    file: File, raster: Any, window: Any = None, out_shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read the colours of a mask: of three bands, of a palette, or shades of grey.

    Args:
        file: The mask's file, for error messages.
        raster: The opened file.
        window: The part to read; all by default.
        out_shape: Height and width to which the mask is subsampled; its own by default.

    Returns:
        (3, h, w) uint8 red, green and blue, and (h, w) bool where they are transparent.
    """
    header, pixels, is_hidden = _read_bands(file, raster, window, out_shape)
    if header.num_bands == 4:
        is_hidden |= pixels[3] == 0
    if header.num_bands > 1:
        return pixels[:3], is_hidden
    if ColorInterp.palette in raster.colorinterp:
        palette = np.zeros((256, 4), np.uint8)
        for number, colour in raster.colormap(1).items():
            palette[number] = colour
        colours = np.moveaxis(palette[pixels[0]], -1, 0)
        return colours[:3], is_hidden | (colours[3] == 0)
    if raster.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1":  # black and white, as 0 and 1
        pixels = pixels * np.uint8(255)
    return np.repeat(pixels, 3, axis=0), is_hidden


def _read_bands(
    file: File, raster: Any, window: Any, out_shape: tuple[int, int] | None
) -> tuple[Header, np.ndarray, np.ndarray]:
    """Read the header, the (bands, h, w) pixels, and (h, w) bool where a mask hides them."""
    header = describe_raster(file, raster)
    shape = None if out_shape is None else (raster.count, *out_shape)
    pixels = raster.read(window=window, out_shape=shape)
    is_hidden = np.zeros(pixels.shape[1:], bool)
    if header.has_mask:
        is_hidden |= raster.read_masks(1, window=window, out_shape=out_shape) == 0
    return header, pixels, is_hidden


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
    if legend.tolerance:
        nearest = np.full(len(table), legend.tolerance, np.uint8)
        channel = np.arange(256, dtype=np.int16)
        for number, colour in reversed([*enumerate(legend.colours)]):
            red, green, blue = (np.abs(channel - value).astype(np.uint8) for value in colour)
            distance = np.maximum(np.maximum(red[:, None, None], green[:, None]), blue).ravel()
            is_nearest = distance <= nearest
            table[is_nearest], nearest[is_nearest] = number, distance[is_nearest]
    table[_encode_colours(colours, legend.bits)] = np.arange(len(legend.colours))
    return table
