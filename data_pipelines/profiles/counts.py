"""Counts of pixels: a histogram for each band, added up over all images of a split.

Every fourth row of each image is counted: with all of them, a build would take a twelfth longer,
and neighbouring rows are alike. Pixels that are 0 in all bands have no data: their number is all
that is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ImageCounts", "SplitCounts", "count_image"]

# Distances of the rows that are counted, and of the rows and columns that the bands' correlation is
# measured on.
_ROW_STEP, _STEP = 4, 4
_NUM_CLASSES = 256  # values of a mask


class ImageCounts(NamedTuple):
    """The counts of one image, small enough to be sent from one process to another.

    Attributes:
        dtype: Dtype of the image.
        pixels: Number of pixels counted.
        nodata: Number of pixels that are 0 in all bands; the other counts are without them.
        histograms: The values that occur in each band, and how often.
        sampled: Number of pixels that the sums are of.
        total: (bands,) float64, sums of the digital numbers.
        products: (bands, bands) float64, sums of their products.
        mask: The values that occur in the mask, and how often; empty without a mask.
    """

    dtype: str
    pixels: int
    nodata: int
    histograms: tuple[tuple[np.ndarray, np.ndarray], ...]
    sampled: int
    total: np.ndarray
    products: np.ndarray
    mask: tuple[np.ndarray, np.ndarray]


def count_image(image: np.ndarray, mask: np.ndarray | None = None) -> ImageCounts:
    """Count the pixels of an image.

    Args:
        image: (h, w, bands) uint8 or uint16.
        mask: (h, w) uint8 class numbers, or None.
    """
    bands = np.ascontiguousarray(image[::_ROW_STEP].reshape(-1, image.shape[-1]).T)
    sample = image[::_STEP, ::_STEP].reshape(-1, image.shape[-1]).astype(np.float64)
    histograms = tuple(_count_values(band) for band in bands)
    nodata = 0
    # A pixel can be 0 in all bands only if each band has a 0.
    if all(len(values) and values[0] == 0 for values, _ in histograms):
        nodata = bands.shape[1] - int(np.count_nonzero(bands.any(axis=0)))
        histograms = tuple(
            (values, np.append(counts[0] - nodata, counts[1:])) for values, counts in histograms
        )
        sample = sample[sample.any(axis=1)]
    return ImageCounts(
        str(image.dtype),
        bands.shape[1],
        nodata,
        histograms,
        len(sample),
        sample.sum(axis=0),
        sample.T @ sample,
        _count_values(mask.ravel()) if mask is not None else (np.empty(0, np.uint8),) * 2,
    )


def _count_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that occur, in ascending order, and how often each does."""
    counts = np.bincount(values)
    occurring = np.flatnonzero(counts)
    return occurring.astype(values.dtype), counts[occurring].astype(np.int64)


@dataclass
class SplitCounts:
    """The counts of all images of a split; empty until the first image is added.

    Attributes:
        dtype: Dtype of the images; empty before the first.
        images: Number of images.
        pixels: Number of pixels counted.
        nodata: Number of pixels that are 0 in all bands.
        histograms: (bands, values of the dtype) int64.
        sampled: Number of pixels that the sums are of.
        total: (bands,) float64, sums of the digital numbers.
        products: (bands, bands) float64, sums of their products.
        mask: (256,) int64, number of pixels of each value in the masks.
    """

    dtype: str = ""
    images: int = 0
    pixels: int = 0
    nodata: int = 0
    histograms: np.ndarray | None = None
    sampled: int = 0
    total: Any = 0.0
    products: Any = 0.0
    mask: Any = None

    def add(self, image: ImageCounts) -> None:
        """Add the counts of an image."""
        if self.histograms is None:
            size = np.iinfo(image.dtype).max + 1
            self.dtype = image.dtype
            self.histograms = np.zeros((len(image.histograms), size), np.int64)
            self.mask = np.zeros(_NUM_CLASSES, np.int64)
        for histogram, (values, counts) in zip(self.histograms, image.histograms, strict=True):
            histogram[values] += counts
        values, counts = image.mask
        self.mask[values] += counts
        self.images += 1
        self._add_sums(image)

    def merge(self, other: "SplitCounts") -> None:
        """Add the counts of other images of the same bands and dtype."""
        if other.histograms is None:
            return
        if self.histograms is None:
            self.dtype = other.dtype
            self.histograms, self.mask = other.histograms.copy(), other.mask.copy()
        else:
            self.histograms += other.histograms
            self.mask += other.mask
        self.images += other.images
        self._add_sums(other)

    def _add_sums(self, other: "ImageCounts | SplitCounts") -> None:
        self.pixels += other.pixels
        self.nodata += other.nodata
        self.sampled += other.sampled
        self.total = self.total + other.total
        self.products = self.products + other.products

    def to_arrays(self) -> dict[str, Any]:
        """Convert the counts to arrays, for a NumPy archive; none without images."""
        return {} if self.histograms is None else dict(vars(self))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "SplitCounts":
        """Restore the counts from what `to_arrays` returned."""
        fields: dict[str, Any] = {
            name: array if array.ndim else array.item() for name, array in arrays.items()
        }
        return cls(**fields)
