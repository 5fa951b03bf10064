"""Metrics that are exact for any batch size and any number of devices.

Confidence intervals by the bootstrap over test examples are in `intervals`, probes of frozen
features in `probes`, and NaN-aware ratios and means in `ratios`.
"""

from ssl_jax.metrics.accumulators import (
    Accumulators,
    Mean,
    PerExample,
    merge_accumulators,
    reduce_over_devices,
    to_host,
)
from ssl_jax.metrics.confusion import (
    confusion_matrix,
    f1,
    kappa,
    mean_iou,
    overall_accuracy,
    per_class_f1,
    per_class_iou,
)
from ssl_jax.metrics.ranking import average_precision, mean_average_precision

__all__ = [
    "Accumulators",
    "Mean",
    "PerExample",
    "average_precision",
    "confusion_matrix",
    "f1",
    "kappa",
    "mean_average_precision",
    "mean_iou",
    "merge_accumulators",
    "overall_accuracy",
    "per_class_f1",
    "per_class_iou",
    "reduce_over_devices",
    "to_host",
]
