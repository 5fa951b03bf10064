"""Gradient accumulation: large batches in the memory of a small one.

The forward pass of a device's batch is a scan over micro-batches, whose body is recomputed in the
backward pass; the transpose of the scan then adds up the gradients. Only the outputs of the body
are kept for all examples, and the loss is computed on all of them together. A loss that couples
examples (NT-Xent) therefore sees the whole batch, and the gradient is exactly that of the large
batch. The one exception is batch norm, whose statistics are those of a micro-batch (over all
devices); networks with group norm and ViTs have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from data_pipelines.errors import UserError

# (batch_stats, batch) -> (batch_stats, outputs)
Forward = Callable[[Any, Any], tuple[Any, Any]]


def apply_in_micro_batches(
    forward: Forward, num_micro_batches: int, group_size: int = 1
) -> Forward:
    """Transform a forward pass into one over micro-batches.

    Leaves of the batch and of the outputs have the examples as their first axis. Micro-batch i
    consists of every `num_micro_batches`-th group of `group_size` neighbours, from the i-th on. It
    therefore holds the same examples for any number of devices.

    Args:
        forward: Function `(batch_stats, batch) -> (batch_stats, outputs)`.
        num_micro_batches: Number of micro-batches.
        group_size: Number of neighbours that must be in the same micro-batch.

    Returns:
        A function with the signature of `forward`. It raises `UserError` if the device's batch
        can't be split into equal micro-batches of such groups.
    """

    def run(batch_stats: Any, batch: Any) -> tuple[Any, Any]:
        num_examples = len(jax.tree.leaves(batch)[0])
        if num_examples % (num_micro_batches * group_size):
            raise UserError(
                f"accumulate: found {num_examples} examples per device for {num_micro_batches} "
                f"micro-batches; expected a multiple of {num_micro_batches * group_size} examples: "
                f"choose a batch size divisible by devices × accumulate × {group_size}"
            )
        if num_micro_batches == 1:
            return forward(batch_stats, batch)

        def split(x: jax.Array) -> jax.Array:
            groups = x.reshape(-1, num_micro_batches, group_size, *x.shape[1:]).swapaxes(0, 1)
            return groups.reshape(num_micro_batches, -1, *x.shape[1:])

        def join(x: jax.Array) -> jax.Array:
            groups = x.reshape(num_micro_batches, -1, group_size, *x.shape[2:]).swapaxes(0, 1)
            return groups.reshape(-1, *x.shape[2:])

        micro_batches = jax.tree.map(split, batch)
        batch_stats, outputs = jax.lax.scan(jax.checkpoint(forward), batch_stats, micro_batches)
        return batch_stats, jax.tree.map(join, outputs)

    return run
