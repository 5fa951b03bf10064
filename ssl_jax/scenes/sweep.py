"""The sweep of images by a window: logits blended where windows overlap, finished on the devices.

Windows go through the network in groups. Their logits, weighted so that a window fades out towards
its rim, are added up on the device for as long as a further window may have a pixel. Whole logits
never leave the device: `finish` makes small results of them. Reading, network and what is done
with the results overlap, and the memory they need doesn't depend on the size of an image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
from jax import Array
from jax.sharding import Mesh, NamedSharding

from ssl_jax.devices.mesh import SHARDED, make_local_mesh, replicate_locally
from ssl_jax.scenes.commands import (
    AddGroup,
    Command,
    FinishBlock,
    MoveStrip,
    MoveSums,
    make_commands,
)
from ssl_jax.scenes.programs import Finish, Logits, Programs, make_network, make_programs
from ssl_jax.scenes.reading import Task
from ssl_jax.scenes.sweep_plan import SweepPlan, deal

__all__ = ["Finished", "Sweep", "make_sweep"]

Item = TypeVar("Item")


class Finished(NamedTuple):
    """A finished block.

    Attributes:
        position: Its position in the tasks.
        arrays: The arrays of its pixels that `finish` made, (height, width, ...) each; None if no
            window that begins in it was computed.
        sums: The sums over its pixels, likewise.
    """

    position: int
    arrays: Any
    sums: Any


class Sweep(Protocol):
    """A compiled sweep."""

    def __call__(
        self,
        variables: Any,
        plan: SweepPlan,
        tasks: Sequence[Task],
        check: Callable[[], None] = ...,
    ) -> Iterator[Finished]:
        """Compute blocks.

        Each block's result is the same, bit for bit, whatever the other tasks and their order are
        and whatever the number of devices is. Blocks that follow each other in a lane share work.

        Args:
            variables: The variables, on the host or replicated over the devices.
            plan: The plan.
            tasks: The blocks, of images of the plan's size and of one dtype.
            check: Called between groups, in another thread; an exception ends the sweep.

        Yields:
            The blocks in order of completion.
        """
        ...


def make_sweep(
    logits: Logits, finish: Finish, mesh: Mesh, flips: bool = False, in_flight: int = 2
) -> Sweep:
    """Make a sweep, which compiles once for images of a size.

    Args:
        logits: Function `(variables, images (B, H, W, C)) -> logits (B, H, W, K)` float32.
        finish: Function of some rows of a block, `(logits (rows, columns, K) float32, pixels) ->
            (arrays, sums)`: pytrees of arrays (rows, columns, ...) and of sums over these pixels.
            `pixels` has the arrays (rows, columns, ...) that are read besides `image`, and
            `computed` (rows, columns) bool: where it is false, pixels and logits are arbitrary,
            because the pixel is outside of the image, not needed, or in a window without data.
        mesh: The devices; only those of this process are used.
        flips: Whether to average the logits over flips, as in `SlidingWindow`.
        in_flight: Groups that wait for the devices while one is computed; it changes no result.
    """
    local_mesh = make_local_mesh(mesh)
    sharding = NamedSharding(local_mesh, SHARDED)
    network = make_network(logits, local_mesh, flips)
    programs = cache(lambda plan: make_programs(plan, finish, local_mesh))

    def sweep(
        variables: Any,
        plan: SweepPlan,
        tasks: Sequence[Task],
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[Finished]:
        variables = replicate_locally(variables, local_mesh)

        def read() -> Generator[Command, None, None]:
            for command in make_commands(plan, tasks, deal(range(len(tasks)), local_mesh.size)):
                yield _put(command, sharding)

        with closing(_run_ahead(read(), 2 * in_flight)) as commands:
            results = _execute(programs(plan), network, variables, commands, check, in_flight)
            with closing(_run_ahead(results, 1)) as finished:
                yield from finished

    return sweep


def _put(command: Command, sharding: NamedSharding) -> Command:
    """Copy the arrays of a command to the devices."""
    if isinstance(command, FinishBlock):
        return command._replace(arrays=jax.device_put(command.arrays, sharding))
    return jax.device_put(command, sharding)


def _execute(
    programs: Programs,
    network: Callable[..., Array],
    variables: Any,
    commands: Iterator[Command],
    check: Callable[[], None],
    in_flight: int,
) -> Generator[Finished, None, None]:
    """Carry out commands, and yield the blocks that they finish.

    The devices are given more work before a group is waited for, and before a result is fetched.
    """
    sums = programs.clear_sums()
    strip: Any = None
    running: deque[Array] = deque()
    unfetched: deque[tuple[FinishBlock, Any]] = deque()
    for command in commands:
        check()
        match command:
            case MoveSums(moves):
                sums = programs.move_sums(sums, moves)
            case MoveStrip(rows, active):
                strip = programs.make_strip(rows) if strip is None else strip
                strip = programs.move_strip(strip, rows, active)
            case AddGroup(places):
                images = programs.cut_windows(strip, places)
                running.append(network(variables, images, places))
                sums = programs.add(sums, running[-1], places)
                if len(running) > in_flight:
                    jax.block_until_ready(running.popleft())
            case FinishBlock():
                is_any = any(command.has_result)
                result = programs.finish(sums, *command.arrays) if is_any else None
                unfetched.append((command, result))
        while unfetched and (len(unfetched) > 1 or _is_ready(unfetched[0][1])):
            yield from _fetch(*unfetched.popleft())
    for command, result in unfetched:
        yield from _fetch(command, result)


def _is_ready(result: Any) -> bool:
    return all(leaf.is_ready() for leaf in jax.tree.leaves(result))


def _fetch(command: FinishBlock, result: Any) -> Iterator[Finished]:
    """Yield the blocks of a command with the results of their devices."""
    arrays, sums = jax.device_get(result) if result is not None else (None, None)
    for device, position in enumerate(command.positions):
        if position is None:
            continue
        if not command.has_result[device]:
            yield Finished(position, None, None)
            continue
        own = itemgetter((device, *command.inside[device]))
        yield Finished(position, jax.tree.map(own, arrays), jax.tree.map(itemgetter(device), sums))


def _run_ahead(items: Generator[Item, None, None], count: int) -> Generator[Item, None, None]:
    """Iterate in another thread, by up to `count` items ahead of what is asked for."""
    end: Any = object()
    pool = ThreadPoolExecutor(1)
    try:
        pending = deque(pool.submit(next, items, end) for _ in range(count))
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, items, end))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
