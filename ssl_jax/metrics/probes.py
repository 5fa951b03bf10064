"""What features are worth, told without a step of gradient descent: probes and collapse.

Two classifiers need none: the nearest neighbours of an example, and ridge regression onto the
classes. Two numbers of the features alone betray a collapse.
"""

from __future__ import annotations

import numpy as np

__all__ = ["feature_spread", "knn_scores", "ridge_scores"]

NEIGHBOURS = 20  # DINO (Caron et al. 2021), section 4.1
TEMPERATURE = 0.07  # of the neighbours' votes: Wu et al. 2018, section 3.4
_RIDGE = 1e-2  # share of the features' variance that is added to it
_BLOCK = 1024  # rows of similarities held at a time


def knn_scores(
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


def ridge_scores(
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


def feature_spread(representation: np.ndarray) -> tuple[float, float]:
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
