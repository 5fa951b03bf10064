"""Average precision of multi-label scores, over all examples at once."""

from __future__ import annotations

import numpy as np

from ssl_jax.metrics.accumulators import PerExample
from ssl_jax.metrics.ratios import mean_of_present

__all__ = ["average_precision", "mean_average_precision"]


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
    return mean_of_present(average_precision(scores, targets))
