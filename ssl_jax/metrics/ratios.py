"""Ratios and means in which NaN stands for undefined values."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["mean_of_present", "ratio"]


def ratio(numerator: Any, denominator: Any) -> np.ndarray:
    """Divide element by element, with NaN and no warning where the denominator is 0.

    Args:
        numerator: Numbers, (...).
        denominator: Numbers, (...).

    Returns:
        The ratio, (...) float64.
    """
    denominator = np.asarray(denominator, np.float64)
    return numerator / np.where(denominator == 0, np.nan, denominator)


def mean_of_present(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if all are NaN."""
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))
