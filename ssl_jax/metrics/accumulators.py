"""Metric accumulators, which are exact for any batch size and any number of devices.

On the device an objective returns accumulators: `Mean` (a sum and its normaliser), confusion
matrices (int32, rows are true classes, columns predicted ones) and `PerExample` (rows of values
that are only meaningful over the whole set, such as scores for average precision).
`reduce_over_devices` adds them over the devices inside the step, `to_host` fetches them in NumPy's
widest types, and `merge_accumulators` adds those of several batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = [
    "Accumulators",
    "Mean",
    "PerExample",
    "merge_accumulators",
    "reduce_over_devices",
    "to_host",
]

Accumulators = Mapping[str, Any]  # name -> Mean, PerExample or a confusion matrix


@flax.struct.dataclass
class Mean:
    """A weighted mean as its sum and normaliser, so that means of unequal batches can be added.

    Attributes:
        total: Weighted sum of the values, a float32 scalar.
        count: Sum of the weights, a scalar; int32 unless the weights are fractional.
    """

    total: Array
    count: Array

    @classmethod
    def from_values(cls, values: Array, weights: Array | None = None) -> Mean:
        """Create the mean of some values.

        A value of weight 0 has no effect, even if it is NaN. Counts are int32, and hence exact,
        unless the weights are fractional.

        Args:
            values: Values of any shape.
            weights: Weights of the same shape, or None for weights of 1.
        """
        values = jnp.asarray(values, jnp.float32)
        if weights is None:
            weights = jnp.ones(values.shape, jnp.int32)
        integral = not jnp.issubdtype(weights.dtype, jnp.floating)
        total = jnp.sum(jnp.where(weights != 0, values * weights, 0.0))
        return cls(total, jnp.sum(weights, dtype=jnp.int32 if integral else jnp.float32))

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> Array:
        """The mean; NaN if the count is 0."""
        return self.total / np.where(self.count == 0, np.nan, self.count)


@flax.struct.dataclass
class PerExample:
    """Arrays (B, ...) with one row per example, which are concatenated over batches.

    Attributes:
        values: Arrays by name; `values["valid"]` (B,) bool is false for padding.
    """

    values: dict[str, Any]

    def __add__(self, other: PerExample) -> PerExample:
        rows = {k: np.concatenate([v, other.values[k]]) for k, v in self.values.items()}
        return PerExample(rows)


def reduce_over_devices(accumulators: Accumulators, axis: str = "data") -> Accumulators:
    """Compute the accumulators of the whole batch from those of one device, inside `shard_map`.

    All results are replicated, including `PerExample` rows, so that each process can fetch them.

    Args:
        accumulators: Accumulators of the device's part of the batch.
        axis: Name of the mesh axis.

    Returns:
        Accumulators of the whole batch.
    """
    return {
        name: _gather_rows(value, axis)
        if isinstance(value, PerExample)
        else jax.lax.psum(value, axis)
        for name, value in accumulators.items()
    }


def _gather_rows(per_example: PerExample, axis: str) -> PerExample:
    """Gather the rows of all devices in the order of the batch.

    Each device sets its own rows in an array of zeros; the sum of these arrays is replicated.
    """

    def gather(local: Array) -> Array:
        rows = jnp.zeros((jax.lax.axis_size(axis), *local.shape), local.dtype)
        rows = rows.astype(jnp.int32) if local.dtype == bool else rows
        rows = rows.at[jax.lax.axis_index(axis)].set(local.astype(rows.dtype))
        rows = jax.lax.psum(rows, axis).astype(local.dtype)
        return rows.reshape(-1, *local.shape[1:])

    return PerExample(jax.tree.map(gather, per_example.values))


def to_host(accumulators: Accumulators) -> Accumulators:
    """Fetch accumulators as NumPy float64, int64 and bool, which can be merged without loss."""

    def widen(x: Any) -> np.ndarray:
        x = np.asarray(x)
        if x.dtype == bool:
            return x
        return x.astype(np.int64 if np.issubdtype(x.dtype, np.integer) else np.float64)

    return jax.tree.map(widen, jax.device_get(dict(accumulators)))


def merge_accumulators(first: Accumulators, second: Accumulators) -> Accumulators:
    """Merge the accumulators of two batches; `first` may be empty."""
    return {name: first[name] + second[name] for name in second} if first else second
