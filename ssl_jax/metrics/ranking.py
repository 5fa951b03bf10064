"""Average precision of multi-label scores over all examples."""

from __future__ import annotations

import numpy as np

from ssl_jax.metrics.accumulators import PerExample
from ssl_jax.metrics.ratios import mean_of_present

__all__ = ["average_precision", "mean_average_precision"]


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute the average precision of each class: the sum of precision times the step in recall.

    Equal scores form one threshold, so the order of the examples doesn't matter.

    Args:
        scores: Scores, (examples, classes).
        targets: Labels, 0 or 1, (examples, classes).

    Returns:
        The average precision, (classes,); NaN for a class without a positive example.
    """
    pairs = zip(np.asarray(scores).T, np.asarray(targets).T, strict=True)
    return np.array([_average_precision(s, t) for s, t in pairs])


def _average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    if not targets.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(targets[order] > 0)
    last_of_threshold = np.append(np.diff(scores[order]) != 0, True)
    retrieved = np.arange(1, len(scores) + 1)[last_of_threshold]
    true_positives = true_positives[last_of_threshold]
    return float(
        np.sum(np.diff(true_positives, prepend=0) / true_positives[-1] * true_positives / retrieved)
    )


def mean_average_precision(rows: PerExample) -> float:
    """Compute the macro mAP over the classes with a positive example.

    Args:
        rows: Rows of all examples: `scores` (N, classes), `targets` (N, classes) and `valid` (N,).

    Returns:
        The mAP; NaN if no class has a positive example.
    """
    valid = np.asarray(rows.values["valid"], bool)
    scores, targets = (np.asarray(rows.values[k])[valid] for k in ("scores", "targets"))
    return mean_of_present(average_precision(scores, targets))
