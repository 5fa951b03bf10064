"""Batches of one process: shuffle a source, slice it per process, batch and prefetch.

The order of examples is a function of the seed and the step alone. Every epoch is shuffled anew and
divided into complete batches of the global size; the few remaining examples are dropped in this
epoch, so that no batch holds an example twice. Process p of P takes the p-th of P equal slices of
each global batch: the processes' batches, concatenated, are the global batch, whatever P is.
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

# Number of prefetched batches: enough to hide a slow read, few enough that batches of thousands of
# tiles don't fill the host's memory.
_PREFETCH = 4
# More steps than any run takes.
_UNLIMITED_STEPS = 2**48


class Examples(Protocol):
    """Dicts of arrays by position, such as a `RecordSource`."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> dict[str, np.ndarray]: ...


class Loader:
    """Shuffled training batches, epoch after epoch.

    Attributes:
        wait_seconds: Total time spent waiting for batches, in seconds.
        batches_per_epoch: Number of complete global batches in an epoch.
    """

    def __init__(
        self,
        source: Examples,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 4,
        steps: int = _UNLIMITED_STEPS,
    ) -> None:
        """Create a loader; nothing is read yet.

        Args:
            source: The examples.
            batch_size: Number of examples in a global batch, over all processes.
            seed: Seed of the order of examples.
            process_index: Index of this process.
            process_count: Number of processes.
            threads: Number of threads that read batches in parallel; 0 reads in the calling thread.
            steps: Number of steps of the run; nothing beyond them is prefetched.

        Raises:
            UserError: If the batch is larger than the source, or is not divisible by the number of
                processes.
        """
        if not 1 <= batch_size <= len(source):
            raise UserError(
                f"batch of {batch_size}: the split has {len(source)} examples; "
                "expected a batch of at least 1 and at most that many"
            )
        self._source = source
        self._batch_size = batch_size
        self._local_rows = _compute_local_rows(batch_size, process_index, process_count)
        self._seed = seed
        self._threads = threads
        self._steps = steps
        self._order = functools.lru_cache(maxsize=2)(self._shuffle)
        self.batches_per_epoch = len(source) // batch_size
        self.wait_seconds = 0.0

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Iterate over this process's batches from step `start` on, in constant time for any start.

        Yields:
            {name: (batch_size / process_count, ...)}, with `index` among the names.
        """
        iterator = _prefetch(self._read, start, self._steps, self._threads)
        for _ in range(start, self._steps):
            wait_start = time.perf_counter()
            batch = next(iterator)
            self.wait_seconds += time.perf_counter() - wait_start
            yield batch
            del batch  # freeing tens of megabytes takes time too, which must not count as waiting

    def rows(self, step: int) -> np.ndarray:
        """Return the (batch_size,) positions in the source of the examples of a global batch."""
        epoch, batch = divmod(step, self.batches_per_epoch)
        first = batch * self._batch_size
        return self._order(epoch)[first : first + self._batch_size]

    def _read(self, step: int) -> Batch:
        rows = self.rows(step)[self._local_rows]
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
    """Iterate over every example exactly once, in order, over all processes together.

    All processes get the same number of batches of the same size: the last ones are padded with
    zeros, and skipped unreadable examples are replaced by zeros.

    Args:
        source: The examples.
        batch_size: Number of examples in a global batch, over all processes.
        process_index: Index of this process.
        process_count: Number of processes.
        threads: Number of threads that read batches in parallel; 0 reads in the calling thread.

    Returns:
        Batches {name: (batch_size / process_count, ...)}, with `valid` (batch_size /
        process_count,) bool, which is false for padding and unreadable examples.

    Raises:
        UserError: If the batch is empty, or is not divisible by the number of processes.
    """
    if batch_size < 1:
        raise UserError(f"batch of {batch_size}: expected at least 1 example")
    local_rows = _compute_local_rows(batch_size, process_index, process_count)
    read_or_none = source.read_or_none if isinstance(source, SkippingSource) else source.__getitem__

    def read(step: int) -> Batch:
        rows = np.arange(step * batch_size, (step + 1) * batch_size)[local_rows]
        examples = [read_or_none(int(row)) if row < len(source) else None for row in rows]
        valid = np.array([example is not None for example in examples])
        # Any example gives the names, shapes and dtypes of the padding.
        padding = next((example for example in examples if example is not None), None) or source[0]
        batch = _stack([padding if example is None else example for example in examples])
        for values in batch.values():
            values[~valid] = 0
        return {**batch, "valid": valid}

    return _prefetch(read, 0, math.ceil(len(source) / batch_size), threads)


def _prefetch(read: Callable[[int], Batch], start: int, stop: int, threads: int) -> Iterator[Batch]:
    """Read batches `start` to `stop` in `threads` threads, before they are requested."""
    threads = min(threads, _PREFETCH)
    options = grain.ReadOptions(threads, _PREFETCH if threads else 0)
    return iter(grain.MapDataset.range(start, stop).map(read).to_iter_dataset(options))


def _stack(examples: Sequence[dict[str, Any]]) -> Batch:
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _compute_local_rows(batch_size: int, process_index: int, process_count: int) -> slice:
    """Return the rows of a global batch that belong to one process."""
    if batch_size % process_count:
        raise UserError(
            f"batch of {batch_size}: is not divisible by the {process_count} processes; "
            f"expected a multiple of {process_count}"
        )
    local_size = batch_size // process_count
    return slice(process_index * local_size, (process_index + 1) * local_size)
