"""A function over a stream of items, in other processes, in order, a little ahead."""

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

__all__ = ["WorkerDied", "available_cores", "parallel_map"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class WorkerDied(RuntimeError):
    """A worker process ended before its work did, most often for want of memory."""


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def parallel_map(
    function: Callable[[ItemT], ResultT],
    items: Iterable[ItemT],
    workers: int,
    chunk: int = 16,
    prepare: Callable[[], object] | None = None,
) -> Iterator[ResultT]:
    """`map(function, items)` with `workers` processes.

    Items are drawn only as far ahead as keeps the workers busy, so that a stream of any length
    takes a fixed amount of memory. With one worker everything happens in this process.

    Args:
        function: picklable.
        items: picklable.
        workers: processes.
        chunk: items sent to a process at once.
        prepare: called in each process before anything is unpickled.

    Raises:
        WorkerDied: a process was killed.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    # Forked from a clean server process: this one may have threads, which don't survive a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data_pipelines.preparing.encoding"])
    pool = ProcessPoolExecutor(
        workers, context, _begin, (prepare, pickle.dumps(function, pickle.HIGHEST_PROTOCOL))
    )
    waiting: collections.deque[Future[list[ResultT]]] = collections.deque()
    stream = iter(items)
    try:
        while True:
            while len(waiting) < 2 * workers and (batch := list(islice(stream, chunk))):
                waiting.append(pool.submit(_apply, batch))
            if not waiting:
                return
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerDied(
            "a worker process died; if the machine ran out of memory, use fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


# What this worker process does with items; set once, when the process begins.
_functions: list[Callable[[Any], Any]] = []


def _begin(prepare: Callable[[], object] | None, function: bytes) -> None:
    for number in (signal.SIGINT, signal.SIGUSR1):  # these reach all processes; the parent decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    _functions[:] = [pickle.loads(function)]


def _end_with_parent() -> None:
    """Die when the parent does, which a process waiting for work would not notice."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _apply(batch: list[Any]) -> list[Any]:
    return [_functions[0](item) for item in batch]
