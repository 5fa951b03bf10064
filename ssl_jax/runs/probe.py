"""What frozen features are worth, told in seconds and without training: probes and collapse.

Two classifiers need no step of gradient descent: the nearest neighbours of an example and ridge
regression onto the classes. Two figures of the features alone betray a collapse.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ssl_jax import metrics
from ssl_jax.objectives import Objective
from ssl_jax.runs import features
from ssl_jax.runs.parts import ProbeSet, Run
from ssl_jax.training.state import TrainState
from ssl_jax.training.stopping import StopRequest

__all__ = ["OnlineProbe", "collapse", "figures", "frozen", "nearest_neighbours", "ridge"]

NEIGHBOURS = 20  # DINO (Caron et al. 2021), section 4.1
TEMPERATURE = 0.07  # of the neighbours' votes: Wu et al. 2018, section 3.4
_RIDGE = 1e-2  # share of the features' variance that is added to it
_BLOCK = 1024  # rows of similarities held at a time

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
        stop: StopRequest,
    ) -> None:
        self._step = features.extraction_step(
            lambda variables, batch: objective.predict(variables, batch["image"]), mesh
        )
        self._mesh = mesh
        self._examples = examples
        self._batch_size = batch_size
        self._stop = stop

    def __call__(self, state: TrainState) -> dict[str, float]:
        """See `figures`; a backbone that has collapsed is also told at the terminal.

        Raises:
            Stopped: asked to stop while at it.
        """
        train, evaluation = (
            features.extract(
                self._step, state.variables, source, self._mesh, self._batch_size, self._stop
            ).records
            for source in (self._examples.train, self._examples.evaluation)
        )
        found = figures(train, evaluation, self._examples.classes)
        if found["collapsed"] and jax.process_index() == 0:
            print(
                f"warning: the features have collapsed at step {int(state.step)}: their relative "
                f"standard deviation is {found['feature_std']:.2g} (1 if spread evenly) and their "
                f"effective rank {found['effective_rank']:.2f}; expected an encoder that tells "
                "examples apart: lower the learning rate, or look at temperature and views",
                file=sys.stderr,
            )
        return found


def frozen(run: Run) -> dict[str, float]:
    """The figures of a run whose features were computed once; empty for any other run."""
    train, evaluation = run.source, run.evaluation_source
    if isinstance(train, features.FeatureSource) and isinstance(evaluation, features.FeatureSource):
        return figures(train.records, evaluation.records, len(run.card.classes))
    return {}


def figures(
    train: Mapping[str, np.ndarray], evaluation: Mapping[str, np.ndarray], classes: int
) -> dict[str, float]:
    """What a probe logs, of records with `features` (N, D) and, where labelled, a target.

    `feature_std`, `effective_rank` and `collapsed` (0 or 1) of the features to be judged by, and of
    the two probes `knn_top1` and `ridge_top1`, or `knn_mAP` and `ridge_mAP` for several labels.
    """
    std, rank = collapse(evaluation["features"])
    found = {
        "feature_std": std,
        "effective_rank": rank,
        "collapsed": float(std < COLLAPSED_STD or rank < COLLAPSED_RANK),
    }
    name = next((name for name in ("label", "labels") if name in evaluation), "")
    if not classes or not name:
        return found
    targets = train[name] if name == "labels" else np.eye(classes)[train[name]]
    for probe, classify in (("knn", nearest_neighbours), ("ridge", ridge)):
        scores = classify(train["features"], targets, evaluation["features"])
        found |= {f"{probe}_{k}": v for k, v in _judged(scores, evaluation[name]).items()}
    return found


def nearest_neighbours(
    train: np.ndarray,
    targets: np.ndarray,
    queries: np.ndarray,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> np.ndarray:
    """Scores (M, classes) of queries (M, D): votes of the nearest examples by cosine similarity s.

    Each votes for its targets (N, classes) with the weight exp(s / temperature); Wu et al. 2018
    (https://arxiv.org/abs/1805.01978), section 3.4. The scores of a query sum to its neighbours'
    mean number of labels.
    """
    neighbours = min(neighbours, len(train))
    train, queries = _directions(train), _directions(queries)
    scores = np.empty((len(queries), targets.shape[1]))
    for start in range(0, len(queries), _BLOCK):
        similarity = queries[start : start + _BLOCK] @ train.T
        nearest = np.argpartition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
        weights = np.exp((np.take_along_axis(similarity, nearest, axis=1) - 1) / temperature)
        weights /= weights.sum(axis=1, keepdims=True)
        votes = np.einsum("mk,mkc->mc", weights, np.asarray(targets, np.float64)[nearest])
        scores[start : start + _BLOCK] = votes
    return scores


def ridge(
    train: np.ndarray, targets: np.ndarray, queries: np.ndarray, strength: float = _RIDGE
) -> np.ndarray:
    """Scores (M, classes) of queries (M, D): a linear probe in closed form.

    Least squares with an intercept from standardised features (N, D) onto the targets (N, classes),
    with `strength` times N on the diagonal of the features' covariance.
    """
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    std = np.where(std > 1e-6 * max(std.max(), 1e-30), std, np.inf)  # constants say nothing
    x, y = (train - mean) / std, np.asarray(targets, np.float64)
    intercept = y.mean(axis=0)
    if len(x) < x.shape[1]:  # the smaller of the two equivalent systems
        gram = x @ x.T + strength * len(x) * np.eye(len(x))
        weights = x.T @ np.linalg.solve(gram, y - intercept)
    else:
        covariance = x.T @ x + strength * len(x) * np.eye(x.shape[1])
        weights = np.linalg.solve(covariance, x.T @ (y - intercept))
    return (queries - mean) / std @ weights + intercept


def collapse(representation: np.ndarray) -> tuple[float, float]:
    """How far features (N, D) are spread: their standard deviation and their effective rank.

    The deviation is that of the directions, 1 if they are spread evenly over the sphere and 0 if
    all are the same (Chen & He 2021, https://arxiv.org/abs/2011.10566, section 4.1). The rank is
    the exponential of the entropy of the singular values of the centred features (Roy & Vetterli
    2007; RankMe, https://arxiv.org/abs/2210.02885): D at most, 1 if they lie on a line.
    """
    directions = _directions(representation)
    std = float(directions.std(axis=0).mean() * directions.shape[1] ** 0.5)
    centred = representation - representation.mean(axis=0, dtype=np.float64)
    values = np.linalg.svd(centred, compute_uv=False)
    if not values.any():
        return std, 1.0
    shares = values[values > 0] / values.sum()
    return std, float(np.exp(-np.sum(shares * np.log(shares))))


def _directions(x: np.ndarray) -> np.ndarray:
    """Rows (N, D) of length one, float64; rows of zeros stay."""
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _judged(scores: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    if targets.ndim == 1:
        return {"top1": float(np.mean(scores.argmax(axis=1) == targets))}
    rows = {"scores": scores, "targets": targets, "valid": np.ones(len(targets), bool)}
    return {"mAP": metrics.mean_average_precision(metrics.PerExample(rows))}
