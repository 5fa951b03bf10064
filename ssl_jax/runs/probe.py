"""Probes of a backbone's features: online during pretraining, and of a frozen backbone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ssl_jax.metrics import PerExample, mean_average_precision
from ssl_jax.metrics.probes import feature_spread, knn_scores, ridge_scores
from ssl_jax.objectives import Objective
from ssl_jax.runs import features
from ssl_jax.runs.parts import ProbeSet, Run
from ssl_jax.training.shutdown import ShutdownSignal
from ssl_jax.training.state import TrainState

__all__ = ["OnlineProbe", "compute_probe_metrics", "probe_frozen_backbone"]


# Below either of these, features are almost independent of the input. Untrained ResNets and ViTs
# have standard deviations of 0.3 to 0.8 and, on as few as 40 examples, effective ranks above 10;
# features on a line have rank 1.
_COLLAPSED_STD, _COLLAPSED_RANK = 0.01, 1.5


class OnlineProbe:
    """Probes the backbone of a state during pretraining."""

    def __init__(
        self,
        objective: Objective,
        mesh: Mesh,
        examples: ProbeSet,
        batch_size: int,
        stop: ShutdownSignal,
    ) -> None:
        """Set up the probe of a run.

        Args:
            objective: The objective, whose `predict` returns representations (B, D).
            mesh: The devices.
            examples: The examples to fit the probes on and to evaluate them on.
            batch_size: Examples per batch over all devices.
            stop: The shutdown signal, polled after each batch.
        """
        self._step = features.make_extraction_step(
            lambda variables, batch: objective.predict(variables, batch["image"]), mesh
        )
        self._mesh = mesh
        self._examples = examples
        self._batch_size = batch_size
        self._stop = stop

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Compute the metrics of `compute_probe_metrics`, and warn if the features have collapsed.

        Raises:
            Stopped: If a signal requested a shutdown.
        """
        train, evaluation = (
            features.extract_features(
                self._step, state.variables, source, self._mesh, self._batch_size, self._stop
            ).records
            for source in (self._examples.train, self._examples.evaluation)
        )
        metrics = compute_probe_metrics(train, evaluation, self._examples.num_classes)
        if metrics["collapsed"] and jax.process_index() == 0:
            print(
                f"warning: the features have collapsed at step {int(state.step)}: found a relative "
                f"standard deviation of {metrics['feature_std']:.2g} and an effective rank of "
                f"{metrics['effective_rank']:.2f}; expected at least {_COLLAPSED_STD} (1 if spread "
                f"evenly) and {_COLLAPSED_RANK}: lower the learning rate, or check the temperature "
                "and the views",
                file=sys.stderr,
            )
        return metrics


def probe_frozen_backbone(run: Run) -> dict[str, float]:
    """Compute the probe metrics of a run with precomputed features; empty for any other run."""
    train, evaluation = run.source, run.evaluation_source
    if isinstance(train, features.FeatureSource) and isinstance(evaluation, features.FeatureSource):
        return compute_probe_metrics(train.records, evaluation.records, len(run.card.classes))
    return {}


def compute_probe_metrics(
    train: Mapping[str, np.ndarray], evaluation: Mapping[str, np.ndarray], num_classes: int
) -> dict[str, float]:
    """Compute the spread of features and, if there are labels, the scores of two probes on them.

    Args:
        train: The records to fit the probes on: `features` (N, D) and, if labelled, `label` (N,) or
            multi-hot `labels` (N, num_classes).
        evaluation: The records to evaluate, likewise.
        num_classes: Number of classes; 0 if there are no labels.

    Returns:
        `feature_std`, `effective_rank` and `collapsed` (0 or 1) of the evaluated features, and of
        the two probes `knn_top1` and `ridge_top1`, or `knn_mAP` and `ridge_mAP` if there are
        several labels per example.
    """
    std, rank = feature_spread(evaluation["features"])
    metrics = {
        "feature_std": std,
        "effective_rank": rank,
        "collapsed": float(std < _COLLAPSED_STD or rank < _COLLAPSED_RANK),
    }
    name = next((name for name in ("label", "labels") if name in evaluation), "")
    if not num_classes or not name:
        return metrics
    targets = train[name] if name == "labels" else np.eye(num_classes)[train[name]]
    for probe, compute_scores in (("knn", knn_scores), ("ridge", ridge_scores)):
        scores = compute_scores(train["features"], targets, evaluation["features"])
        for metric, value in _compute_accuracy(scores, evaluation[name]).items():
            metrics[f"{probe}_{metric}"] = value
    return metrics


def _compute_accuracy(scores: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Compute `top1` for labels (N,), `mAP` for multi-hot labels (N, classes)."""
    if targets.ndim == 1:
        return {"top1": float(np.mean(scores.argmax(axis=1) == targets))}
    rows = {"scores": scores, "targets": targets, "valid": np.ones(len(targets), bool)}
    return {"mAP": mean_average_precision(PerExample(rows))}
