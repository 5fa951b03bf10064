"""Figures that are exact whatever the batch size and the number of devices.

On the device an objective returns *sums*: `Mean` (a sum and its normaliser), confusion matrices
(int32, true rows, predicted columns) and `PerExample` (rows of what only makes sense over the whole
set, as scores do for average precision). `reduce_sums` adds them over the devices inside the step,
`to_host` fetches them in NumPy's widest types, `merge` adds batches, and the NumPy functions below
turn the sums into figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Sums = Mapping[str, Any]  # name -> Mean, PerExample or a confusion matrix


@flax.struct.dataclass
class Mean:
    """A weighted mean kept as its sum and its normaliser, so that means of ragged parts add up."""

    total: Array
    count: Array

    @classmethod
    def of(cls, values: Array, weights: Array | None = None) -> Mean:
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


def confusion_matrix(true: Array, predicted: Array, classes: int, valid: Array) -> Array:
    """Counts (classes, classes) int32: rows the true class, columns the predicted one.

    `true`, `predicted` and `valid` have one shape, whatever it is. What is not valid, or whose true
    class is out of range (an ignore label), leaves the counts.
    """
    counted = valid & (true >= 0) & (true < classes)
    cell = jnp.where(counted, true.astype(jnp.int32) * classes + predicted, classes * classes)
    counts = jnp.zeros(classes * classes + 1, jnp.int32).at[cell.reshape(-1)].add(1)
    return counts[:-1].reshape(classes, classes)


def reduce_sums(sums: Sums, axis: str = "data") -> Sums:
    """Sums over the whole batch from the sums of one device; call it within `shard_map`.

    Everything comes out replicated, `PerExample` rows too: each process can then fetch them,
    however many processes there are.
    """
    return {
        name: _gather(value, axis) if isinstance(value, PerExample) else jax.lax.psum(value, axis)
        for name, value in sums.items()
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


def to_host(sums: Sums) -> Sums:
    """The same sums as NumPy float64, int64 and bool, ready to be merged without loss."""

    def widen(x: Any) -> np.ndarray:
        x = np.asarray(x)
        if x.dtype == bool:
            return x
        return x.astype(np.int64 if np.issubdtype(x.dtype, np.integer) else np.float64)

    return jax.tree.map(widen, jax.device_get(dict(sums)))


def merge(first: Sums, second: Sums) -> Sums:
    """Sums of two batches taken together."""
    return {name: first[name] + second[name] for name in second} if first else second


def overall_accuracy(confusion: np.ndarray) -> float:
    """Share of the labelled that is predicted right; NaN if nothing is labelled."""
    return float(ratio(np.trace(confusion), confusion.sum()))


def per_class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union (..., classes), of one confusion matrix or several.

    NaN for a class neither labelled nor predicted.
    """
    hits, labelled, predicted = _marginals(confusion)
    return ratio(hits, labelled + predicted - hits)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean of the IoU over the classes that occur, as label or as prediction."""
    return _mean_of_present(per_class_iou(confusion))


def per_class_f1(confusion: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall (classes,); NaN for a class that doesn't occur."""
    hits, labelled, predicted = _marginals(confusion)
    return ratio(2 * hits, labelled + predicted)


def f1(confusion: np.ndarray) -> float:
    """Mean of the F1 over the classes that occur."""
    return _mean_of_present(per_class_f1(confusion))


def kappa(confusion: np.ndarray) -> float:
    """Cohen's kappa: agreement beyond chance; NaN where chance alone would agree fully."""
    _, labelled, predicted = _marginals(confusion)
    total = confusion.sum()
    by_chance = ratio(labelled @ predicted, float(total) ** 2)
    return float(ratio(overall_accuracy(confusion) - by_chance, 1 - by_chance))


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Average precision of each column, (classes,): sum of precision times the step in recall.

    `scores` and `targets` are (examples, classes), the targets 0 or 1. Equal scores form one
    threshold, so the order of the examples doesn't matter. NaN for a class without a positive.
    """
    pairs = zip(np.asarray(scores).T, np.asarray(targets).T, strict=True)
    return np.array([_average_precision(s, t) for s, t in pairs])


def _average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    if not targets.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(targets[order] > 0)
    last_of_threshold = np.append(np.diff(scores[order]) != 0, True)
    retrieved = np.arange(1, len(scores) + 1)[last_of_threshold]
    hits = hits[last_of_threshold]
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * hits / retrieved))


def mean_average_precision(rows: PerExample) -> float:
    """Macro mAP over the classes with a positive, from rows of `scores`, `targets` and `valid`."""
    valid = np.asarray(rows.values["valid"], bool)
    scores, targets = (np.asarray(rows.values[k])[valid] for k in ("scores", "targets"))
    return _mean_of_present(average_precision(scores, targets))


def _marginals(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class: predicted right, labelled, predicted; float64, which is exact to 2^53."""
    confusion = np.asarray(confusion, np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(axis=-1), confusion.sum(axis=-2)


def ratio(part: Any, whole: Any) -> np.ndarray:
    """`part / whole`, NaN (without a warning) where the whole is zero."""
    whole = np.asarray(whole, np.float64)
    return part / np.where(whole == 0, np.nan, whole)


def _mean_of_present(values: np.ndarray) -> float:
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))
