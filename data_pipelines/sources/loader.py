"""From a source to the batches of one process: shuffle, slice per process, batch, read ahead.

The order of examples is a function of the seed and the step alone. Every epoch is shuffled anew and
cut into whole batches of the global size; the few examples left over wait for the next epoch, so
that no batch holds an example twice. Process p of P takes the p-th of P equal runs of each global
batch: the processes' batches, one after the other, are the global batch, whatever P is.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import grain
import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import SkippingSource

__all__ = ["Examples", "Loader", "evaluation_batches"]

Batch = dict[str, np.ndarray]

# Batches read ahead: enough to hide a slow read, few enough that batches of thousands of tiles
# don't fill the host's memory.
_AHEAD = 4
# More steps than any run takes.
_ENDLESS = 2**48


class Examples(Protocol):
    """Dicts of arrays by position, such as a `Source`."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> dict[str, np.ndarray]: ...


class Loader:
    """Shuffled training batches, epoch after epoch.

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
        steps: int = _ENDLESS,
    ) -> None:
        """Describe the batches; nothing is read yet.

        Args:
            source: the examples.
            batch_size: examples in a global batch, over all processes.
            seed: of the order.
            process_index: which process this is.
            process_count: how many there are.
            threads: that read batches in parallel; 0 reads in the thread that asks.
            steps: of the run; nothing beyond is read ahead.

        Raises:
            UserError: the batch has more examples than the source, or can't be shared equally.
        """
        if not 1 <= batch_size <= len(source):
            raise UserError(
                f"batch of {batch_size}: the split has {len(source)} examples; "
                "expected a batch of at least 1 and at most that many"
            )
        self._source = source
        self._batch_size = batch_size
        self._mine = _slice_of(batch_size, process_index, process_count)
        self._seed = seed
        self._threads = threads
        self._steps = steps
        self._order = functools.lru_cache(maxsize=2)(self._shuffle)
        self.batches_per_epoch = len(source) // batch_size
        self.wait_seconds = 0.0

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """This process's batches from step `start` on, which takes no longer for a large `start`.

        Yields:
            {name: (batch_size / process_count, ...)}, with `index` among the names.
        """
        iterator = _ahead(self._read, start, self._steps, self._threads)
        for _ in range(start, self._steps):
            asked = time.perf_counter()
            batch = next(iterator)
            self.wait_seconds += time.perf_counter() - asked
            yield batch
            del batch  # to give back tens of megabytes takes time too, and isn't waiting

    def rows(self, step: int) -> np.ndarray:
        """Positions (batch_size,) in the source of the examples of a global batch."""
        epoch, number = divmod(step, self.batches_per_epoch)
        first = number * self._batch_size
        return self._order(epoch)[first : first + self._batch_size]

    def _read(self, step: int) -> Batch:
        rows = self.rows(step)[self._mine]
        return _stack([self._source[int(row)] for row in rows])

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self._seed, epoch)).permutation(len(self._source))


def evaluation_batches(
    source: Examples,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 4,
) -> Iterator[Batch]:
    """Every example exactly once, in order, on all processes together.

    Each process gets as many batches, all of one size: the last ones are filled up with zeros,
    and `valid` (batch_size / process_count,) bool is false there. So it is for bad examples that
    are skipped.

    Raises:
        UserError: the batch is empty or can't be shared equally between the processes.
    """
    if batch_size < 1:
        raise UserError(f"batch of {batch_size}: expected at least 1 example")
    mine = _slice_of(batch_size, process_index, process_count)
    read_or_none = source.read_or_none if isinstance(source, SkippingSource) else source.__getitem__

    def read(step: int) -> Batch:
        rows = np.arange(step * batch_size, (step + 1) * batch_size)[mine]
        found = [read_or_none(int(row)) if row < len(source) else None for row in rows]
        valid = np.array([example is not None for example in found])
        # Filled up with copies of any example, for their names, shapes and types.
        filling = next((example for example in found if example is not None), None) or source[0]
        batch = _stack([filling if example is None else example for example in found])
        for values in batch.values():
            values[~valid] = 0
        return {**batch, "valid": valid}

    return _ahead(read, 0, math.ceil(len(source) / batch_size), threads)


def _ahead(read: Callable[[int], Batch], start: int, stop: int, threads: int) -> Iterator[Batch]:
    """Batches `start` to `stop`, read in `threads` threads before they are asked for."""
    threads = min(threads, _AHEAD)
    options = grain.ReadOptions(threads, _AHEAD if threads else 0)
    return iter(grain.MapDataset.range(start, stop).map(read).to_iter_dataset(options))


def _stack(examples: Sequence[dict[str, Any]]) -> Batch:
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _slice_of(batch_size: int, process_index: int, process_count: int) -> slice:
    """Of a global batch, the rows of one process."""
    if batch_size % process_count:
        raise UserError(
            f"batch of {batch_size}: can't be shared equally by {process_count} processes; "
            f"expected a multiple of {process_count}"
        )
    local = batch_size // process_count
    return slice(process_index * local, (process_index + 1) * local)
