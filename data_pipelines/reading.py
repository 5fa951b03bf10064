"""What a builder still has to read: items, and how one item becomes examples.

    def _split_generators(self, dl_manager):
        items = [Scene(path, split="train") for path in ...]
        return Reading(items, read_scene, expected={"train": len(items)}).splits()

TFDS goes through each split as through any generator of (key, example). `data_pipelines.build`
knows a reading when it sees one, and goes through its items once for all splits, in as many
processes as it is told to, or hands them to Apache Beam; and an item that can't be read can be
left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Example", "Examples", "Item", "Reading", "Unreadable"]

Example = dict[str, Any]


class Item(Protocol):
    """What one call of `read` reads: a path, a window of a file, the bytes of a file. Picklable."""

    @property
    def split(self) -> str:
        """The split its examples belong to."""


class Unreadable(NamedTuple):
    """In place of an item that is known to be bad before it is read: what is wrong with it."""

    split: str
    error_message: str


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True, eq=False)
class Reading(Generic[ItemT]):
    """All examples of a dataset, before they are read.

    Attributes:
        items: can be gone through more than once, always in the same order, at little cost.
        read: item -> its examples with their keys, unlike any other's in the split; runs in other
            processes, so that it must be a function of a module (or a partial of one). Raises
            `UserError` for an item that is bad.
        expected: the splits, with how many examples each should have; None where nobody knows.
        found: what a user wants to know of the files before they are read: (what, details).
        chunk: items that go to a worker at once; fewer where an item holds many pixels.
    """

    items: Iterable[ItemT]
    read: Callable[[ItemT], Iterable[tuple[str, Example]]]
    expected: Mapping[str, int | None]
    found: Sequence[tuple[str, str]] = ()
    chunk: int = 16

    def splits(self) -> dict[str, "Examples"]:
        """What `_split_generators` returns."""
        return {split: Examples(self, split) for split in self.expected}


@dataclass(frozen=True, eq=False)
class Examples(Iterable[tuple[str, Example]]):
    """The examples of one split of a reading."""

    reading: Reading[Any]
    split: str

    def __iter__(self) -> Iterator[tuple[str, Example]]:
        for item in self.reading.items:
            if item.split == self.split:
                yield from self.reading.read(item)
