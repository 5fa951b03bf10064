"""From a source to the batches of one process: shuffle, slice per process, batch, read ahead.

The order of examples is a function of the seed and the step alone. Every epoch is shuffled anew and
cut into whole batches of the global size; the few examples left over wait for the next epoch, so
that no batch holds an example twice. Process p of P takes the p-th of P equal runs of each global
batch: the processes' batches, one after the other, are the global batch, whatever P is.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import grain
import numpy as np

from data_pipelines.errors import UserError

__all__ = ["Examples", "Loader", "evaluation_batches"]

Batch = dict[str, np.ndarray]

# Batches read ahead: enough to hide a slow read, few enough that batches of thousands of tiles
# don't fill the host's memory.
_AHEAD = 4


class Examples(Protocol):
    """Dicts of arrays by position, such as a `Source`."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> dict[str, np.ndarray]: ...


class Loader:
    """Shuffled training batches without end.

    Attributes:
        wait_seconds: time spent waiting for batches since this loader was made.
        batches_per_epoch: whole global batches in an epoch.
    """

    def __init__(
        self,
        source: Examples,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 4,
    ) -> None:
        """Describe the batches; nothing is read yet.

        Args:
            source: the examples.
            batch_size: examples in a global batch, over all processes.
            seed: of the order.
            process_index: which process this is.
            process_count: how many there are.
            threads: that read batches in parallel; 0 reads in the thread that asks.

        Raises:
            UserError: the batch has more examples than the source, or can't be shared equally.
        """
        if not 1 <= batch_size <= len(source):
            raise UserError(
                f"batch of {batch_size}: the split has {len(source)} examples; "
                "expected a batch of at least 1 and at most that many"
            )
        local = _local_size(batch_size, process_count)
        self.batches_per_epoch = len(source) // batch_size
        self.wait_seconds = 0.0
        self._threads = threads
        # Grain shuffles epoch e with seed + e; distinct runs must not be each other's epochs.
        seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        whole_batches = slice(0, self.batches_per_epoch * batch_size)
        shuffled = grain.MapDataset.source(source).shuffle(seed)[whole_batches]
        self._batches = (
            _ProcessSlice(shuffled, batch_size, process_index, process_count)
            .batch(local, batch_fn=_stack)
            .repeat()
        )

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """This process's batches from step `start` on, which takes no longer for a large `start`.

        Yields:
            {name: (batch_size / process_count, ...)}, with `index` among the names.
        """
        iterator = iter(_ahead(self._batches[start:], self._threads))
        while True:
            asked = time.perf_counter()
            batch = next(iterator)
            self.wait_seconds += time.perf_counter() - asked
            yield batch


def evaluation_batches(
    source: Examples,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 4,
) -> Iterator[Batch]:
    """Every example exactly once, in order, on all processes together.

    Each process gets as many batches, all of one size: the last ones are filled up with zeros,
    and `valid` (batch_size / process_count,) bool is false there.

    Raises:
        UserError: the batch can't be shared equally between the processes.
    """
    if batch_size < 1:
        raise UserError(f"batch of {batch_size}: expected at least 1 example")
    local = _local_size(batch_size, process_count)

    def read(step: int) -> Batch:
        first = step * batch_size + process_index * local
        rows = range(first, min(first + local, len(source)))
        # A batch beyond the end still needs an example to take names, shapes and types from.
        batch = _stack([source[row] for row in rows or (0,)])
        filling = local - len(rows)
        padded = {
            name: np.concatenate(
                [values[: len(rows)], np.zeros((filling, *values.shape[1:]), values.dtype)]
            )
            for name, values in batch.items()
        }
        return {**padded, "valid": np.arange(local) < len(rows)}

    steps = grain.MapDataset.range(math.ceil(len(source) / batch_size))
    return iter(_ahead(steps.map(read), threads))


class _ProcessSlice(grain.MapDataset[Any]):
    """Of every `batch_size` elements in a row, the `process_index`-th of `process_count` runs."""

    def __init__(
        self, parent: Any, batch_size: int, process_index: int, process_count: int
    ) -> None:
        super().__init__(parent)
        self._batch_size = batch_size
        self._local = batch_size // process_count
        self._offset = process_index * self._local

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * self._local

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        batch, place = divmod(index, self._local)
        return self._parent[batch * self._batch_size + self._offset + place]


def _ahead(batches: Any, threads: int) -> Any:
    """Read `batches` in `threads` threads before they are asked for."""
    threads = min(threads, _AHEAD)
    return batches.to_iter_dataset(grain.ReadOptions(threads, _AHEAD if threads else 0))


def _stack(examples: Sequence[dict[str, np.ndarray]]) -> Batch:
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _local_size(batch_size: int, process_count: int) -> int:
    if batch_size % process_count:
        raise UserError(
            f"batch of {batch_size}: can't be shared equally by {process_count} processes; "
            f"expected a multiple of {process_count}"
        )
    return batch_size // process_count
