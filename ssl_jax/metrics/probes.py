"""Evaluation of features without gradient descent: probes and measures of collapse.

There are two classifiers: the nearest neighbours of an example, and ridge regression onto the
classes. Two further measures of the features alone reveal a collapse.
"""

from __future__ import annotations

import numpy as np

__all__ = ["feature_spread", "knn_scores", "ridge_scores"]

NEIGHBOURS = 20  # DINO (Caron et al. 2021), section 4.1
TEMPERATURE = 0.07  # of the neighbours' votes: Wu et al. 2018, section 3.4
_RIDGE_STRENGTH = 1e-2  # added to the features' variance, as a fraction of it
_CHUNK_SIZE = 1024  # queries whose similarities are in memory at a time


def knn_scores(
    train: np.ndarray,
    targets: np.ndarray,
    queries: np.ndarray,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> np.ndarray:
    """Score queries by the votes of their nearest training examples.

    A neighbour with cosine similarity s votes for its targets with weight exp(s / temperature); Wu
    et al. 2018 (https://arxiv.org/abs/1805.01978), section 3.4. The scores of a query sum to the
    weighted mean of its neighbours' numbers of labels.

    Args:
        train: Features of the training examples, (N, D).
        targets: Labels of the training examples, 0 or 1, (N, classes).
        queries: Features of the queries, (M, D).
        neighbours: Number of neighbours, limited to N.
        temperature: Temperature of the votes.

    Returns:
        Scores, (M, classes).
    """
    neighbours = min(neighbours, len(train))
    train, queries = _normalise_rows(train), _normalise_rows(queries)
    scores = np.empty((len(queries), targets.shape[1]))
    for start in range(0, len(queries), _CHUNK_SIZE):
        similarity = queries[start : start + _CHUNK_SIZE] @ train.T
        nearest = np.argpartition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
        weights = np.exp((np.take_along_axis(similarity, nearest, axis=1) - 1) / temperature)
        weights /= weights.sum(axis=1, keepdims=True)
        votes = np.einsum("mk,mkc->mc", weights, np.asarray(targets, np.float64)[nearest])
        scores[start : start + _CHUNK_SIZE] = votes
    return scores


def ridge_scores(
    train: np.ndarray, targets: np.ndarray, queries: np.ndarray, strength: float = _RIDGE_STRENGTH
) -> np.ndarray:
    """Score queries by ridge regression, a linear probe in closed form.

    This is least squares with an intercept from standardised features onto the targets, with
    `strength` times N added to the diagonal of XᵀX, where X is the matrix of features.

    Args:
        train: Features of the training examples, (N, D).
        targets: Labels of the training examples, 0 or 1, (N, classes).
        queries: Features of the queries, (M, D).
        strength: Regularisation strength.

    Returns:
        Scores, (M, classes).
    """
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    std = np.where(std > 1e-6 * max(std.max(), 1e-30), std, np.inf)  # ignores constant features
    x, y = (train - mean) / std, np.asarray(targets, np.float64)
    intercept = y.mean(axis=0)
    if len(x) < x.shape[1]:  # of two equivalent systems, solve the smaller one
        gram = x @ x.T + strength * len(x) * np.eye(len(x))
        weights = x.T @ np.linalg.solve(gram, y - intercept)
    else:
        covariance = x.T @ x + strength * len(x) * np.eye(x.shape[1])
        weights = np.linalg.solve(covariance, x.T @ (y - intercept))
    return (queries - mean) / std @ weights + intercept


def feature_spread(representation: np.ndarray) -> tuple[float, float]:
    """Measure the spread of features by their standard deviation and their effective rank.

    Args:
        representation: Features, (N, D).

    Returns:
        The standard deviation of the features' directions, which is 1 if they are uniformly
        distributed over the sphere and 0 if all are equal (Chen & He 2021,
        https://arxiv.org/abs/2011.10566, section 4.1). And the effective rank, the exponential of
        the entropy of the singular values of the centred features (Roy & Vetterli 2007; RankMe,
        https://arxiv.org/abs/2210.02885), which is at most D, and 1 if they lie on a line.
    """
    directions = _normalise_rows(representation)
    std = float(directions.std(axis=0).mean() * directions.shape[1] ** 0.5)
    centred = representation - representation.mean(axis=0, dtype=np.float64)
    values = np.linalg.svd(centred, compute_uv=False)
    if not values.any():
        return std, 1.0
    fractions = values[values > 0] / values.sum()
    return std, float(np.exp(-np.sum(fractions * np.log(fractions))))


def _normalise_rows(x: np.ndarray) -> np.ndarray:
    """Scale rows (N, D) to length 1, in float64; rows of zeros are unchanged."""
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
