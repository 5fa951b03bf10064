"""The items that a builder reads, and the function that converts an item to examples.

    def _split_generators(self, dl_manager):
        items = [Scene(path, split="train") for path in ...]
        return Reading(items, read_scene, expected={"train": len(items)}).splits()

TFDS iterates over each split as over any generator of (key, example). `data_pipelines.build`
recognises a reading and iterates over its items once for all splits, in several processes or with
Apache Beam. It can also skip items that can't be read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Example", "Examples", "Item", "Reading", "Unreadable"]

Example = dict[str, Any]


class Item(Protocol):
    """The argument of one call of `read`: a path, a window of a file, the bytes of a file.

    Must be picklable.
    """

    @property
    def split(self) -> str:
        """The split that the item's examples belong to."""


class Unreadable(NamedTuple):
    """A placeholder for an item that is known to be invalid before it is read.

    `read` raises a `UserError` with its message.

    Attributes:
        split: The split that the item belongs to.
        error_message: The reason why the item can't be read.
    """

    split: str
    error_message: str


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True, eq=False)
class Reading(Generic[ItemT]):
    """The items of a dataset and the function that reads them.

    Attributes:
        items: The items; iterating over them is cheap, and always gives the same order.
        read: Function from an item to its (key, example) pairs. Keys are unique within a split. It
            runs in other processes, so it must be a module-level function or a partial of one.
            Raises `UserError` if the item is invalid.
        expected: {split: number of examples}; None if the number is unknown.
        found: (subject, details) pairs about the files, printed before they are read.
        chunk: Number of items sent to a worker at once; lower it if an item holds many pixels.
        num_pixels: Number of pixels in the files, if each is to be stored once; 0 if that is
            unknown.
    """

    items: Iterable[ItemT]
    read: Callable[[ItemT], Iterable[tuple[str, Example]]]
    expected: Mapping[str, int | None]
    found: Sequence[tuple[str, str]] = ()
    chunk: int = 16
    num_pixels: int = 0

    def splits(self) -> dict[str, "Examples"]:
        """Return the splits in the form that `_split_generators` returns."""
        return {split: Examples(self, split) for split in self.expected}


@dataclass(frozen=True, eq=False)
class Examples(Iterable[tuple[str, Example]]):
    """The (key, example) pairs of one split of a reading."""

    reading: Reading[Any]
    split: str

    def __iter__(self) -> Iterator[tuple[str, Example]]:
        for item in self.reading.items:
            if item.split == self.split:
                yield from self.reading.read(item)
