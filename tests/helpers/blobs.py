"""Random features in clusters, one per class."""

import numpy as np


def make_blobs():
    """Create features of 300 + 200 examples around three centres, and their classes."""
    rng = np.random.default_rng(0)
    spread = [1, 5, 1, 1, 2, 1, 1, 9]
    label = rng.integers(0, 3, 500)
    features = rng.normal(size=(3, 8))[label] * 2 + rng.normal(size=(500, 8)) * spread
    records = {"features": features.astype(np.float32), "label": label}
    return [{k: v[subset] for k, v in records.items()} for subset in (slice(300), slice(300, None))]
