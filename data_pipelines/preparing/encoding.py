"""Encoding of examples to stored records, with their catalogue entries and image moments."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.private import ExampleSerializer
from data_pipelines.profiles.counts import ImageCounts, count_image
from data_pipelines.reading import Example, ItemT
from data_pipelines.sources.catalogue import MASK_PIXELS, MaskClasses, small_features
from data_pipelines.sources.windows import crop_to_inside

__all__ = [
    "Encoder",
    "ItemResult",
    "Moments",
    "ReadAndEncode",
    "StoredRecord",
    "select_measured",
]

# Number of pixels summed at once, few enough to stay in the processor's cache.
_BLOCK_PIXELS = 4096


@dataclass(frozen=True)
class Moments:
    """Sums over pixels from which the mean and standard deviation of each band are computed.

    Sums of integers in float64 are exact for one image; over a dataset they keep 15 digits.

    Attributes:
        pixels: Number of pixels summed.
        total: (bands,) float64, sums of the digital numbers.
        squares: (bands,) float64, sums of their squares.
    """

    pixels: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(()))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(()))

    @classmethod
    def from_image(cls, image: np.ndarray) -> "Moments":
        """Compute the moments of an image of shape (h, w, bands)."""
        pixels = image.reshape(-1, image.shape[-1])
        total, squares = np.zeros((2, image.shape[-1]))
        for start in range(0, len(pixels), _BLOCK_PIXELS):
            block = pixels[start : start + _BLOCK_PIXELS]
            bands = np.ascontiguousarray(block.T).astype(np.float64)
            total += bands.sum(axis=1)
            squares += np.einsum("ij,ij->i", bands, bands)
        return cls(len(pixels), total, squares)

    @classmethod
    def from_statistics(cls, pixels: int, mean: np.ndarray, std: np.ndarray) -> "Moments":
        """Compute the moments of `pixels` pixels with the given mean and standard deviation.

        Args:
            pixels: Number of pixels.
            mean: (bands,) mean of each band.
            std: (bands,) standard deviation of each band.
        """
        return cls(pixels, mean * pixels, (std**2 + mean**2) * pixels)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.pixels + other.pixels, self.total + other.total, self.squares + other.squares
        )

    @property
    def mean(self) -> np.ndarray:
        """The mean of each band, (bands,) float64."""
        return self.total / self.pixels

    @property
    def std(self) -> np.ndarray:
        """The standard deviation of each band, (bands,) float64."""
        return np.sqrt(np.maximum(self.squares / self.pixels - self.mean**2, 0))


def select_measured(
    image: np.ndarray, example: Mapping[str, Any], metadata: Mapping[str, Any] | None
) -> np.ndarray:
    """Select the pixels of an image that statistics include: neither padding nor without data.

    Args:
        image: (h, w, bands) stored pixels.
        example: The example, see `crop_to_inside`.
        metadata: Metadata of the dataset; if its `nodata` is 0, pixels that are 0 in all bands have
            no data.

    Returns:
        (h, w, bands), or (pixels, bands) if some have no data.
    """
    inside = crop_to_inside(image, example)
    return inside[inside.any(axis=-1)] if (metadata or {}).get("nodata") == 0 else inside


class StoredRecord(NamedTuple):
    """An encoded example.

    Attributes:
        key: Key of the example.
        serialized: A serialised `tf.train.Example`.
        columns: Its small features, for the catalogue.
        moments: Moments of its image; None if the image is an encoded file.
        counts: Counts of its image and mask for the data profile; None like `moments`.
    """

    key: int | bytes
    serialized: bytes
    columns: dict[str, Any]
    moments: Moments | None
    counts: ImageCounts | None


class ItemResult(NamedTuple):
    """The result of reading and encoding one item.

    Attributes:
        split: The split that its records belong to.
        records: The item's records; empty if the item is invalid.
        error_message: The reason why the item is invalid; empty if it is valid.
    """

    split: str
    records: tuple[StoredRecord, ...]
    error_message: str


class Encoder:
    """A function from (key, example) to record, for the features of a dataset. Picklable."""

    def __init__(self, info: tfds.core.DatasetInfo) -> None:
        """Create the function.

        Args:
            info: TFDS's description of the dataset.
        """
        self._features = info.features
        self._metadata = dict(info.metadata or {})
        self._mask_classes = MaskClasses.of(info)
        self._serializer = ExampleSerializer(info.features.get_serialized_info())
        self._columns = small_features(info.features)

    def __call__(self, key: int | str | bytes, example: Example) -> StoredRecord:
        """Encode one example.

        Raises:
            UserError: If it does not match the features.
        """
        try:
            encoded = self._features.encode_example(example)
            message = self._serializer.get_tf_example(encoded)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise UserError(
                f"example {key!r}: does not match its dataset's features "
                f"({' '.join(str(error).split())})"
            ) from error
        serialized = message.SerializeToString(deterministic=True)
        columns = {name: self._make_column(name, encoded[name]) for name in self._columns}
        image, mask = example.get("image"), example.get("mask")
        if self._mask_classes.number:
            mask = np.asarray(mask)
        mask = crop_to_inside(mask, example) if isinstance(mask, np.ndarray) else None
        if self._mask_classes.number and mask is not None:
            columns[MASK_PIXELS] = self._mask_classes.count_pixels(mask)
        moments = counts = None
        if isinstance(image, np.ndarray) and image.ndim == 3:
            moments = Moments.from_image(select_measured(image, example, self._metadata))
            is_small = mask is not None and mask.dtype == np.uint8
            counts = count_image(crop_to_inside(image, example), mask if is_small else None)
        stored_key = key.encode() if isinstance(key, str) else key
        return StoredRecord(stored_key, serialized, columns, moments, counts)

    def _make_column(self, name: str, value: Any) -> Any:
        feature, num_classes = self._features[name], self._columns[name]
        if not num_classes:
            return np.bool_(value) if feature.np_dtype == np.bool_ else np.int32(value)
        if feature.shape == (num_classes,):
            return np.asarray(value).astype(np.uint8)
        multi_hot = np.zeros(num_classes, np.uint8)
        multi_hot[np.asarray(value, int)] = 1
        return multi_hot


class ReadAndEncode(Generic[ItemT]):
    """A function from an item to its result, which the workers call. Picklable."""

    def __init__(
        self, read: Callable[[ItemT], Iterable[tuple[str, Example]]], encoder: Encoder
    ) -> None:
        self._read = read
        self._encoder = encoder

    def __call__(self, item: ItemT) -> ItemResult:
        """Read and encode one item; a `UserError` is returned in the result, not raised."""
        try:
            records = tuple(self._encoder(key, example) for key, example in self._read(item))
            return ItemResult(item.split, records, "")
        except UserError as error:
            return ItemResult(item.split, (), str(error))
