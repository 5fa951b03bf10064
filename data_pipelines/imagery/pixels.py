"""Reading the pixels of image files, with those that hold no data, and converting them.

Stored images are uint8 or uint16. In a dataset some of whose files have pixels without data, those
are 0 in all bands and no other pixel is, so that statistics can leave them out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.imagery.channels import find_channels
from data_pipelines.imagery.headers import Header, describe_raster

__all__ = ["STORED_DTYPES", "STORED_SCALE", "PixelFormat", "RawPixels"]

STORED_DTYPES = ("uint8", "uint16")
# Physical units per stored number of images whose own numbers aren't stored.
STORED_SCALE = 1e-4
# The highest number that images of 16 bits may have measured.
_MAX_MEASURED = 65_535


class RawPixels(NamedTuple):
    """Pixels as a file has them.

    A no-data value such as 0 or 255 is also that of dark or bright pixels, which have data if
    another band has another value.

    Attributes:
        numbers: (bands, h, w) numbers of the file.
        is_background: (bands, h, w) bool, whether a number is a no-data value that may also be
            measured.
        is_missing: (bands, h, w) bool, whether a number was not measured, by a mask, transparency,
            NaN or a value that is never measured, such as -9999.
    """

    numbers: np.ndarray
    is_background: np.ndarray
    is_missing: np.ndarray

    @property
    def has_data(self) -> np.ndarray:
        """(h, w) bool, whether a pixel has data: in all bands, as far as that is known."""
        return np.asarray(~(self.is_missing.any(axis=0) | self.is_background.all(axis=0)))

    @classmethod
    def stack(cls, parts: Sequence["RawPixels"]) -> "RawPixels":
        """Stack the bands of several files of one image."""
        return cls(
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.is_background for part in parts]),
            np.concatenate([part.is_missing for part in parts]),
        )


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of a user's files become those of a dataset. Picklable.

    A stored number is (number + offset) · factor.

    Attributes:
        bands: Names of the dataset's bands.
        dtype: Dtype of the files' pixels.
        channels: Numbers, from 1, of the files' bands that hold them; empty to find them by the
            names in each file, or by their order.
        transparent: Whether bands that are tagged as transparency are that.
        nodata: Value of pixels without data, `none`, or empty for what the files say.
        has_nodata: Whether some files have pixels without data.
        offset: Added to the files' numbers.
        factor: Stored digital numbers per number of the files.
        num_bands: Number of bands that a file must have; 0 for as many as are needed.
        advice: Appended to error messages about other bands or another dtype.
    """

    bands: tuple[str, ...]
    dtype: str
    channels: tuple[int, ...] = ()
    transparent: bool = False
    nodata: str = ""
    has_nodata: bool = False
    offset: float = 0.0
    factor: float = 1.0
    num_bands: int = 0
    advice: str = ""

    @property
    def stored_dtype(self) -> str:
        """Dtype of the stored pixels."""
        return self.dtype if self.dtype in STORED_DTYPES else "uint16"

    def check(self, header: Header) -> None:
        """Check the dtype and the bands of a file.

        Raises:
            UserError: If they are others.
        """
        if header.dtype != self.dtype:
            raise UserError(
                f"file {header.file}: its pixels are {header.dtype}; expected {self.dtype}"
                f"{self.advice}"
            )
        if self.num_bands and header.num_bands != self.num_bands:
            plural = "s" * (header.num_bands != 1)
            raise UserError(
                f"file {header.file}: has {header.num_bands} band{plural}; expected "
                f"{self.num_bands}{self.advice}"
            )
        self.find_channels(header)

    def find_channels(self, header: Header) -> tuple[int, ...]:
        """Find the numbers, from 1, of the file's bands that hold the dataset's bands."""
        return find_channels(header, self.bands, self.channels, self.transparent)

    def read(
        self,
        file: Any,
        raster: Any,
        window: Any = None,
        shape: tuple[int, int] | None = None,
    ) -> RawPixels:
        """Read the bands of a rasterio dataset.

        Args:
            file: The file, for error messages.
            raster: The rasterio dataset.
            window: The part to read; all by default.
            shape: Height and width of the result, to which pixels are repeated; those of the window
                by default.

        Raises:
            UserError: If the file has another dtype or other bands.
        """
        header = describe_raster(file, raster)
        self.check(header)
        channels = self.find_channels(header)
        single: dict[str, Any] = {"window": window, "out_shape": shape}
        several = {**single, "out_shape": (len(channels), *shape) if shape else None}
        mask = None
        if self.transparent and header.alpha:
            mask = raster.read(header.alpha, **single)
        elif header.has_mask:
            mask = raster.read_masks(1, **single)
        elif header.has_band_masks:
            mask = raster.read_masks(channels, **several)
        return self.interpret(header, raster.read(channels, **several), mask)

    def interpret(
        self, header: Header, numbers: np.ndarray, mask: np.ndarray | None = None
    ) -> RawPixels:
        """Find the pixels without data.

        Args:
            header: Header of the file.
            numbers: (bands, h, w) numbers of the dataset's bands.
            mask: (h, w) or (bands, h, w), 0 where the file's mask or its transparency says that
                there is no data.
        """
        is_background, is_missing = np.zeros((2, *numbers.shape), bool)
        if mask is not None:
            is_missing |= mask == 0
        if np.issubdtype(numbers.dtype, np.floating):
            is_missing |= ~np.isfinite(numbers)
        for index, value in enumerate(self._find_nodata_values(header)):
            if value is None or np.isnan(value):
                continue
            is_value = numbers[index] == value
            if 0 <= value <= _MAX_MEASURED:
                is_background[index] = is_value
            else:
                is_missing[index] |= is_value
        return RawPixels(numbers, is_background, is_missing)

    def convert(self, raw: RawPixels, offsets: Sequence[float] = ()) -> np.ndarray:
        """Convert pixels to (h, w, bands) of the stored dtype; see the module's docstring.

        Args:
            raw: The pixels.
            offsets: Added to the numbers of each band, besides `offset`; empty for none.
        """
        pixels = raw.numbers
        if self.factor != 1 or self.offset or any(offsets) or self.stored_dtype != self.dtype:
            added = self.offset + np.reshape(offsets or 0.0, (-1, 1, 1))
            values = (np.nan_to_num(pixels.astype(np.float64)) + added) * self.factor
            high = np.iinfo(self.stored_dtype).max
            pixels = np.rint(values).clip(1, high).astype(self.stored_dtype)
        image = np.moveaxis(pixels, 0, -1)
        if self.has_nodata:
            has_data = raw.has_data[..., np.newaxis]
            is_black = ~image.any(axis=-1, keepdims=True)
            image = np.where(has_data, np.where(is_black, 1, image), 0)
        return np.ascontiguousarray(image.astype(self.stored_dtype, copy=False))

    def _find_nodata_values(self, header: Header) -> list[float | None]:
        """Return the value of each of the dataset's bands that stands for no data."""
        if self.nodata:
            value = None if self.nodata == "none" else float(self.nodata)
            return [value] * len(self.bands)
        if not header.nodata:
            return [None] * len(self.bands)
        return [header.nodata[number - 1] for number in self.find_channels(header)]
