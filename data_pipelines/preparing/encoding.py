"""Examples -> stored bytes, with what is to be known of them without reading them again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.private import ExampleSerializer
from data_pipelines.reading import Example, ItemT
from data_pipelines.sources.catalogue import small_features

__all__ = ["Encoder", "ItemResult", "Moments", "ReadAndEncode", "StoredRecord", "crop_to_inside"]


# Pixels summed up at once: so few that they stay in the processor's cache.
_BLOCK = 4096


@dataclass(frozen=True)
class Moments:
    """Sums of the digital numbers of each band, from which mean and deviation follow.

    Sums of whole numbers in float64 are exact for one image; over a dataset they keep 15 digits.

    Attributes:
        pixels: how many were added up.
        total: (bands,) float64, their sum.
        squares: (bands,) float64, the sum of their squares.
    """

    pixels: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(()))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(()))

    @classmethod
    def from_image(cls, image: np.ndarray) -> "Moments":
        """The moments of an image (h, w, bands)."""
        pixels = image.reshape(-1, image.shape[-1])
        total, squares = np.zeros((2, image.shape[-1]))
        for start in range(0, len(pixels), _BLOCK):
            bands = np.ascontiguousarray(pixels[start : start + _BLOCK].T).astype(np.float64)
            total += bands.sum(axis=1)
            squares += np.einsum("ij,ij->i", bands, bands)
        return cls(len(pixels), total, squares)

    @classmethod
    def from_statistics(cls, pixels: int, mean: np.ndarray, std: np.ndarray) -> "Moments":
        """The moments that have these statistics."""
        return cls(pixels, mean * pixels, (std**2 + mean**2) * pixels)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.pixels + other.pixels, self.total + other.total, self.squares + other.squares
        )

    @property
    def mean(self) -> np.ndarray:
        """(bands,) float64."""
        return self.total / self.pixels

    @property
    def std(self) -> np.ndarray:
        """(bands,) float64."""
        return np.sqrt(np.maximum(self.squares / self.pixels - self.mean**2, 0))


def crop_to_inside(image: np.ndarray, example: Mapping[str, Any]) -> np.ndarray:
    """The part of an image that was seen, where the example says so in a feature `crop_to_inside`.

    `crop_to_inside` is (2,) int, height and width from the upper left; what lies beyond was filled
    up.
    """
    height, width = example.get("inside", image.shape[:2])
    return image[:height, :width]


class StoredRecord(NamedTuple):
    """An example on its way to a file.

    Attributes:
        key: of the example.
        serialized: a `tf.train.Example`.
        columns: its small features, for the catalogue.
        moments: of its image; None where that is an encoded file.
    """

    key: int | bytes
    serialized: bytes
    columns: dict[str, Any]
    moments: Moments | None


class ItemResult(NamedTuple):
    """What came of one item.

    Attributes:
        split: where its records belong.
        records: none if the item is bad.
        mistake: what is wrong with the item; empty if nothing is.
    """

    split: str
    records: tuple[StoredRecord, ...]
    error_message: str


class Encoder:
    """(key, example) -> record, for the features of a dataset. Can be pickled."""

    def __init__(self, features: tfds.features.FeaturesDict) -> None:
        self._features = features
        self._serializer = ExampleSerializer(features.get_serialized_info())
        self._columns = small_features(features)

    def __call__(self, key: int | str | bytes, example: Example) -> StoredRecord:
        """Encode one example.

        Raises:
            UserError: it isn't what the features say.
        """
        try:
            encoded = self._features.encode_example(example)
            stored = self._serializer.get_tf_example(encoded)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise UserError(
                f"example {key!r}: isn't what its features say ({' '.join(str(error).split())})"
            ) from error
        serialized = stored.SerializeToString(deterministic=True)
        columns = {name: self._column(name, encoded[name]) for name in self._columns}
        image = example.get("image")
        moments = None
        if isinstance(image, np.ndarray) and image.ndim == 3:
            moments = Moments.from_image(crop_to_inside(image, example))
        named = key.encode() if isinstance(key, str) else key
        return StoredRecord(named, serialized, columns, moments)

    def _column(self, name: str, value: Any) -> Any:
        feature, classes = self._features[name], self._columns[name]
        if not classes:
            return np.bool_(value) if feature.np_dtype == np.bool_ else np.int32(value)
        if feature.shape == (classes,):
            return np.asarray(value).astype(np.uint8)
        multi_hot = np.zeros(classes, np.uint8)
        multi_hot[np.asarray(value, int)] = 1
        return multi_hot


class ReadAndEncode(Generic[ItemT]):
    """An item -> its outcome: what the workers do. Can be pickled."""

    def __init__(
        self, read: Callable[[ItemT], Iterable[tuple[str, Example]]], encoder: Encoder
    ) -> None:
        self._read = read
        self._encoder = encoder

    def __call__(self, item: ItemT) -> ItemResult:
        """Read and encode; a mistake is returned, not raised."""
        try:
            records = tuple(self._encoder(key, example) for key, example in self._read(item))
            return ItemResult(item.split, records, "")
        except UserError as error_message:
            return ItemResult(item.split, (), str(error_message))
