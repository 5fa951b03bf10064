"""Large batches in the memory of a small one.

The forward pass of a device's batch is mapped over micro-batches by a scan whose body is recomputed
in the backward pass; the transpose of the scan then adds the gradients up. Only what the body
returns is kept for all examples, and the loss is taken on all of it at once. So a loss that couples
examples (NT-Xent) sees the whole batch, and the gradient is exactly that of the large batch. The
one exception is batch norm, whose statistics are those of a micro-batch (over all devices);
networks with group norm and ViTs have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from data_pipelines.errors import UserError

Forward = Callable[[Any, Any], tuple[Any, Any]]


def apply_in_micro_batches(forward: Forward, parts: int, group_size: int = 1) -> Forward:
    """`forward(batch_stats, batch) -> (batch_stats, outputs)` in `parts` micro-batches.

    Leaves of `batch` and of the outputs have the examples first. Micro-batch i takes every
    `parts`-th run of `group_size` neighbours from the i-th on, and so holds the same whatever the
    number of devices.

    Raises:
        UserError: the device's batch can't be cut into `parts` equal ones of such runs.
    """

    def run(batch_stats: Any, batch: Any) -> tuple[Any, Any]:
        examples = len(jax.tree.leaves(batch)[0])
        if examples % (parts * group_size):
            raise UserError(
                f"accumulate: {examples} examples per device can't be cut into {parts} equal "
                f"micro-batches of {group_size} neighbours each or a multiple; choose a batch size "
                f"divisible by devices × accumulate × {group_size}"
            )
        if parts == 1:
            return forward(batch_stats, batch)

        def split(x: jax.Array) -> jax.Array:
            runs = x.reshape(-1, parts, group_size, *x.shape[1:]).swapaxes(0, 1)
            return runs.reshape(parts, -1, *x.shape[1:])

        def join(x: jax.Array) -> jax.Array:
            runs = x.reshape(parts, -1, group_size, *x.shape[2:]).swapaxes(0, 1)
            return runs.reshape(-1, *x.shape[2:])

        micro_batches = jax.tree.map(split, batch)
        batch_stats, outputs = jax.lax.scan(jax.checkpoint(forward), batch_stats, micro_batches)
        return batch_stats, jax.tree.map(join, outputs)

    return run
