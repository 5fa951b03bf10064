"""A parallel `map` over a stream of items, in worker processes, in order."""

import collections
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

__all__ = ["WorkerError", "available_cores", "parallel_map"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class WorkerError(RuntimeError):
    """The death of a worker process, most often for lack of memory."""


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has no affinities


def parallel_map(
    function: Callable[[ItemT], ResultT],
    items: Iterable[ItemT],
    workers: int,
    chunk: int = 16,
    initialiser: Callable[[], object] | None = None,
) -> Iterator[ResultT]:
    """Compute `map(function, items)` with `workers` processes.

    Only a limited number of items is prefetched, enough to keep the workers busy, so that memory
    use does not depend on the length of the stream. With one worker everything runs in this
    process.

    Args:
        function: Picklable function.
        items: Picklable items.
        workers: Number of processes.
        chunk: Number of items sent to a process at once.
        initialiser: Called in each process before anything is unpickled.

    Yields:
        The results, in the order of the items.

    Raises:
        WorkerError: If a process was killed.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    # Forked from a clean server process: this one may have threads, which don't survive a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_pipelines.preparing.encoding"])
    pickled = pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
    pool = ProcessPoolExecutor(workers, context, _initialise_worker, (initialiser, pickled))
    pending: collections.deque[Future[list[ResultT]]] = collections.deque()
    stream = iter(items)
    try:
        while True:
            while len(pending) < 2 * workers and (batch := list(islice(stream, chunk))):
                pending.append(pool.submit(_process_batch, batch))
            if not pending:
                return
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process died; if the machine ran out of memory, use fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# The function that this worker process applies to items; set once, when the process starts.
_functions: list[Callable[[Any], Any]] = []


def _initialise_worker(initialiser: Callable[[], object] | None, function: bytes) -> None:
    # These signals reach all processes; only the parent handles them.
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if initialiser is not None:
        initialiser()
    _functions[:] = [pickle.loads(function)]


def _exit_with_parent() -> None:
    """Exit when the parent dies, which a process that waits for work would not notice."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _process_batch(batch: list[Any]) -> list[Any]:
    return [_functions[0](item) for item in batch]
