"""Confusion matrices on the device, and metrics computed from them on the host."""

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
    """Count pairs of true and predicted classes.

    Elements that are not valid, or whose true class is out of range (an ignore label), are ignored.

    Args:
        true: True classes, (...) integer.
        predicted: Predicted classes in 0..classes-1, (...) integer.
        classes: Number of classes.
        valid: Whether an element counts, (...) bool.

    Returns:
        Counts, (classes, classes) int32; rows are true classes, columns predicted ones.
    """
    counted = valid & (true >= 0) & (true < classes)
    index = jnp.where(counted, true.astype(jnp.int32) * classes + predicted, classes * classes)
    counts = jnp.zeros(classes * classes + 1, jnp.int32).at[index.reshape(-1)].add(1)
    return counts[:-1].reshape(classes, classes)


def overall_accuracy(confusion: np.ndarray) -> float:
    """Compute the fraction of labelled elements that are predicted correctly.

    Args:
        confusion: Confusion matrix, (classes, classes); rows are true classes.

    Returns:
        The overall accuracy; NaN if nothing is labelled.
    """
    return float(ratio(np.trace(confusion), confusion.sum()))


def per_class_iou(confusion: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of each class.

    Args:
        confusion: One or several confusion matrices, (..., classes, classes).

    Returns:
        The IoU, (..., classes); NaN for a class that is neither labelled nor predicted.
    """
    correct, labelled, predicted = _marginals(confusion)
    return ratio(correct, labelled + predicted - correct)


def mean_iou(confusion: np.ndarray) -> float:
    """Compute the mean IoU over the classes that occur, as label or as prediction.

    Args:
        confusion: Confusion matrix, (classes, classes); rows are true classes.

    Returns:
        The mean IoU; NaN if no class occurs.
    """
    return mean_of_present(per_class_iou(confusion))


def per_class_f1(confusion: np.ndarray) -> np.ndarray:
    """Compute the F1 score of each class, the harmonic mean of precision and recall.

    Args:
        confusion: Confusion matrix, (classes, classes); rows are true classes.

    Returns:
        The F1 score, (classes,); NaN for a class that does not occur.
    """
    correct, labelled, predicted = _marginals(confusion)
    return ratio(2 * correct, labelled + predicted)


def f1(confusion: np.ndarray) -> float:
    """Compute the mean F1 score over the classes that occur (macro F1).

    Args:
        confusion: Confusion matrix, (classes, classes); rows are true classes.

    Returns:
        The mean F1 score; NaN if no class occurs.
    """
    return mean_of_present(per_class_f1(confusion))


def kappa(confusion: np.ndarray) -> float:
    """Compute Cohen's kappa, the agreement beyond chance.

    Args:
        confusion: Confusion matrix, (classes, classes); rows are true classes.

    Returns:
        Cohen's kappa; NaN if the agreement expected by chance is 1.
    """
    _, labelled, predicted = _marginals(confusion)
    total = confusion.sum()
    expected = ratio(labelled @ predicted, float(total) ** 2)
    return float(ratio(overall_accuracy(confusion) - expected, 1 - expected))


def _marginals(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of correct, labelled and predicted elements of each class.

    They are (..., classes) float64, which is exact up to 2^53.
    """
    confusion = np.asarray(confusion, np.float64)
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    return correct, confusion.sum(axis=-1), confusion.sum(axis=-2)
