"""Ratios and means over what occurs, with NaN for what doesn't."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["mean_of_present", "ratio"]


def ratio(part: Any, whole: Any) -> np.ndarray:
    """`part / whole`, NaN (without a warning) where the whole is zero."""
    whole = np.asarray(whole, np.float64)
    return part / np.where(whole == 0, np.nan, whole)


def mean_of_present(values: np.ndarray) -> float:
    """Mean of the values that aren't NaN; NaN if all are."""
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))
