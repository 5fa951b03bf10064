"""Sums that metrics are computed from, exact whatever the batch size and the number of devices.

On the device an objective returns *sums*: `Mean` (a sum and its normaliser), confusion matrices
(int32, true rows, predicted columns) and `PerExample` (rows of what only makes sense over the whole
set, as scores do for average precision). `reduce_over_devices` adds them over the devices inside
the step,
`to_host` fetches them in NumPy's widest types, `merge_accumulators` adds batches.
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
    """A weighted mean kept as its sum and its normaliser, so that means of ragged parts add up."""

    total: Array
    count: Array

    @classmethod
    def from_values(cls, values: Array, weights: Array | None = None) -> Mean:
        """Sum of `values`, and how many they are (or the sum of `weights`, of the same shape).

        A value of weight zero leaves no trace, not even if it is NaN. Counts are int32, hence
        exact, unless the weights are fractional.
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
        """The mean; NaN where nothing was counted."""
        return self.total / np.where(self.count == 0, np.nan, self.count)


@flax.struct.dataclass
class PerExample:
    """Arrays (B, ...) with one row an example, which batches append to rather than add up.

    `values["valid"]` (B,) marks the rows that are examples and not padding.
    """

    values: dict[str, Any]

    def __add__(self, other: PerExample) -> PerExample:
        rows = {k: np.concatenate([v, other.values[k]]) for k, v in self.values.items()}
        return PerExample(rows)


def reduce_over_devices(accumulators: Accumulators, axis: str = "data") -> Accumulators:
    """Sums over the whole batch from the sums of one device; call it within `shard_map`.

    Everything comes out replicated, `PerExample` rows too: each process can then fetch them,
    however many processes there are.
    """
    return {
        name: _gather(value, axis) if isinstance(value, PerExample) else jax.lax.psum(value, axis)
        for name, value in accumulators.items()
    }


def _gather(rows: PerExample, axis: str) -> PerExample:
    """Rows of all devices in the order of the batch: each fills in its own, the sum has all."""

    def gather(local: Array) -> Array:
        whole = jnp.zeros((jax.lax.axis_size(axis), *local.shape), local.dtype)
        whole = whole.astype(jnp.int32) if local.dtype == bool else whole
        whole = whole.at[jax.lax.axis_index(axis)].set(local.astype(whole.dtype))
        whole = jax.lax.psum(whole, axis).astype(local.dtype)
        return whole.reshape(-1, *local.shape[1:])

    return PerExample(jax.tree.map(gather, rows.values))


def to_host(accumulators: Accumulators) -> Accumulators:
    """The same sums as NumPy float64, int64 and bool, ready to be merged without loss."""

    def widen(x: Any) -> np.ndarray:
        x = np.asarray(x)
        if x.dtype == bool:
            return x
        return x.astype(np.int64 if np.issubdtype(x.dtype, np.integer) else np.float64)

    return jax.tree.map(widen, jax.device_get(dict(accumulators)))


def merge_accumulators(first: Accumulators, second: Accumulators) -> Accumulators:
    """Sums of two batches taken together."""
    return {name: first[name] + second[name] for name in second} if first else second
