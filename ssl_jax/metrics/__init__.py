"""Metrics that are exact whatever the batch size and the number of devices, with intervals.

Also: `intervals` by the bootstrap over test examples, `probes` of frozen features, and `ratios`.
"""

from ssl_jax.metrics.confusion import (
    confusion_matrix,
    f1,
    kappa,
    mean_iou,
    overall_accuracy,
    per_class_f1,
    per_class_iou,
)
from ssl_jax.metrics.precision import average_precision, mean_average_precision
from ssl_jax.metrics.sums import Mean, PerExample, Sums, merge, reduce_sums, to_host

__all__ = [
    "Mean",
    "PerExample",
    "Sums",
    "average_precision",
    "confusion_matrix",
    "f1",
    "kappa",
    "mean_average_precision",
    "mean_iou",
    "merge",
    "overall_accuracy",
    "per_class_f1",
    "per_class_iou",
    "reduce_sums",
    "to_host",
]
