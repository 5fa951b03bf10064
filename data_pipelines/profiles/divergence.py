"""How unlike the pixels of two sets of images are, from their means and covariances alone."""

from dataclasses import dataclass

import numpy as np

__all__ = ["LearnedPixels"]

# Share of uncorrelated noise that is added to both covariances: the visible bands are so much alike
# that without it the smallest differences between them would count most.
_NOISE = 0.03


@dataclass(frozen=True)
class LearnedPixels:
    """A normal distribution of pixels, to which others are compared.

    Attributes:
        mean: (bands,) mean.
        deviation: (bands,) standard deviation, at least one digital number.
        inverse: (bands, bands) inverse of the correlation.
        log_volume: Logarithm of the correlation's determinant.
    """

    mean: np.ndarray
    deviation: np.ndarray
    inverse: np.ndarray
    log_volume: float

    @classmethod
    def from_moments(cls, mean: np.ndarray, covariance: np.ndarray) -> "LearnedPixels":
        """Make the distribution of pixels with a mean and a covariance."""
        # A band that was constant is known to one digital number.
        deviation = np.maximum(np.sqrt(np.diag(covariance)), 1.0)
        correlation = covariance / np.outer(deviation, deviation) * (1 - _NOISE)
        np.fill_diagonal(correlation, 1.0)
        return cls(mean, deviation, np.linalg.inv(correlation), np.linalg.slogdet(correlation)[1])

    def diverge(self, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Compute the Kullback-Leibler divergence of other pixels from these.

        Args:
            mean: (..., bands) mean of the other pixels.
            covariance: (..., bands, bands) covariance of the other pixels.

        Returns:
            (...) divergence, in nats; 0 for equal distributions.
        """
        bands = len(self.mean)
        relative = covariance / (self.deviation[:, None] * self.deviation)
        variance = np.einsum("...ii->...", relative) / bands
        relative = relative + _NOISE * variance[..., None, None] * np.eye(bands)
        shift = (mean - self.mean) / self.deviation
        excess = (self.inverse * relative).sum((-2, -1)) + (shift @ self.inverse * shift).sum(-1)
        log_ratio = self.log_volume - np.linalg.slogdet(relative)[1]
        return 0.5 * (excess - bands + log_ratio)

    def shift(self, mean: np.ndarray) -> float:
        """Compute the Mahalanobis distance of a mean from these pixels, in their deviations."""
        shift = (mean - self.mean) / self.deviation
        return float(np.sqrt(shift @ self.inverse @ shift))
