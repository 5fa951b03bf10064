"""Probing a backbone while it is pretrained, and the features of a frozen one."""

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


# Below these an encoder says next to nothing of its input. Untrained ResNets and ViTs have
# deviations of 0.3 to 0.8 and, on as few as 40 examples, ranks above 10; on a line the rank is 1.
COLLAPSED_STD, COLLAPSED_RANK = 0.01, 1.5


class OnlineProbe:
    """Probes the backbone of a state that is being pretrained.

    Args:
        objective: whose `predict` gives representations.
        mesh: the devices.
        examples: what it is probed with.
        batch_size: examples at a time over all devices.
        stop: raised by a signal.
    """

    def __init__(
        self,
        objective: Objective,
        mesh: Mesh,
        examples: ProbeSet,
        batch_size: int,
        stop: ShutdownSignal,
    ) -> None:
        self._step = features.make_extraction_step(
            lambda variables, batch: objective.predict(variables, batch["image"]), mesh
        )
        self._mesh = mesh
        self._examples = examples
        self._batch_size = batch_size
        self._stop = stop

    def __call__(self, state: TrainState) -> dict[str, float]:
        """See `compute_probe_metrics`; a backbone that has collapsed is also told at the terminal.

        Raises:
            Stopped: asked to stop while at it.
        """
        train, evaluation = (
            features.extract_features(
                self._step, state.variables, source, self._mesh, self._batch_size, self._stop
            ).records
            for source in (self._examples.train, self._examples.evaluation)
        )
        found = compute_probe_metrics(train, evaluation, self._examples.classes)
        if found["collapsed"] and jax.process_index() == 0:
            print(
                f"warning: the features have collapsed at step {int(state.step)}: their relative "
                f"standard deviation is {found['feature_std']:.2g} (1 if spread evenly) and their "
                f"effective rank {found['effective_rank']:.2f}; expected an encoder that tells "
                "examples apart: lower the learning rate, or look at temperature and views",
                file=sys.stderr,
            )
        return found


def probe_frozen_backbone(run: Run) -> dict[str, float]:
    """The figures of a run whose features were computed once; empty for any other run."""
    train, evaluation = run.source, run.evaluation_source
    if isinstance(train, features.FeatureSource) and isinstance(evaluation, features.FeatureSource):
        return compute_probe_metrics(train.records, evaluation.records, len(run.card.classes))
    return {}


def compute_probe_metrics(
    train: Mapping[str, np.ndarray], evaluation: Mapping[str, np.ndarray], classes: int
) -> dict[str, float]:
    """What a probe logs, of records with `features` (N, D) and, where labelled, a target.

    `feature_std`, `effective_rank` and `collapsed` (0 or 1) of the features to be judged by, and of
    the two probes `knn_top1` and `ridge_top1`, or `knn_mAP` and `ridge_mAP` for several labels.
    """
    std, rank = feature_spread(evaluation["features"])
    found = {
        "feature_std": std,
        "effective_rank": rank,
        "collapsed": float(std < COLLAPSED_STD or rank < COLLAPSED_RANK),
    }
    name = next((name for name in ("label", "labels") if name in evaluation), "")
    if not classes or not name:
        return found
    targets = train[name] if name == "labels" else np.eye(classes)[train[name]]
    for probe, classify in (("knn", knn_scores), ("ridge", ridge_scores)):
        scores = classify(train["features"], targets, evaluation["features"])
        found |= {f"{probe}_{k}": v for k, v in _judged(scores, evaluation[name]).items()}
    return found


def _judged(scores: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    if targets.ndim == 1:
        return {"top1": float(np.mean(scores.argmax(axis=1) == targets))}
    rows = {"scores": scores, "targets": targets, "valid": np.ones(len(targets), bool)}
    return {"mAP": mean_average_precision(PerExample(rows))}
