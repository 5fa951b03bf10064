"""Confusion matrices on the device, and the metrics of one on the host."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from ssl_jax.metrics.ratios import mean_of_present, ratio

__all__ = [
    "confusion_matrix",
    "f1",
    "kappa",
    "mean_iou",
    "overall_accuracy",
    "per_class_f1",
    "per_class_iou",
]


def confusion_matrix(true: Array, predicted: Array, classes: int, valid: Array) -> Array:
    """Counts (classes, classes) int32: rows the true class, columns the predicted one.

    `true`, `predicted` and `valid` have one shape, whatever it is. What is not valid, or whose true
    class is out of range (an ignore label), leaves the counts.
    """
    counted = valid & (true >= 0) & (true < classes)
    cell = jnp.where(counted, true.astype(jnp.int32) * classes + predicted, classes * classes)
    counts = jnp.zeros(classes * classes + 1, jnp.int32).at[cell.reshape(-1)].add(1)
    return counts[:-1].reshape(classes, classes)


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
    return mean_of_present(per_class_iou(confusion))


def per_class_f1(confusion: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall (classes,); NaN for a class that doesn't occur."""
    hits, labelled, predicted = _marginals(confusion)
    return ratio(2 * hits, labelled + predicted)


def f1(confusion: np.ndarray) -> float:
    """Mean of the F1 over the classes that occur."""
    return mean_of_present(per_class_f1(confusion))


def kappa(confusion: np.ndarray) -> float:
    """Cohen's kappa: agreement beyond chance; NaN where chance alone would agree fully."""
    _, labelled, predicted = _marginals(confusion)
    total = confusion.sum()
    by_chance = ratio(labelled @ predicted, float(total) ** 2)
    return float(ratio(overall_accuracy(confusion) - by_chance, 1 - by_chance))


def _marginals(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class: predicted right, labelled, predicted; float64, which is exact to 2^53."""
    confusion = np.asarray(confusion, np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(axis=-1), confusion.sum(axis=-2)
