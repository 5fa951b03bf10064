"""Figures of segmentation over whole pictures, where every pixel counts once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ssl_jax.metrics import PerExample, Sums, merge, to_host
from ssl_jax.objectives import Segmentation
from ssl_jax.scenes.sliding import Band, Picture, SlidingWindow, sliding_logits, window_step
from ssl_jax.training.stopping import StopRequest

__all__ = ["PictureEvaluation", "picture_evaluation"]

# Pixels whose sums are taken at once: one shape, whatever the size of a picture.
_PIXELS = 2**18

# (variables replicated over the mesh, when to stop) -> sums over all labelled pixels
PictureEvaluation = Callable[[Any, StopRequest | None], Sums]


def picture_evaluation(
    objective: Segmentation,
    pictures: Sequence[Picture],
    sliding: SlidingWindow,
    mesh: Mesh,
    batch_size: int,
) -> PictureEvaluation:
    """The evaluation on pictures; the same on all processes.

    They have a `mask` beside the `image`, and an `index` that tells them apart. Cross-entropy and
    classes are those of the logits averaged over windows and flips. `batch_size` windows at a time
    are spread over the mesh. The evaluation raises `Stopped` if asked to stop.
    In its `predictions` there is a row for each picture.
    """
    step = window_step(objective.logits, mesh, sliding.flips)
    sums_of = jax.jit(objective.pixel_sums)

    def evaluate(variables: Any, stop: StopRequest | None) -> Sums:
        total: Sums = {}
        bands = sliding_logits(step, variables, pictures, sliding, mesh, batch_size, stop)
        for index, of_picture in itertools.groupby(bands, lambda band: band.picture.index):
            sums: Sums = {}
            for pixels in itertools.chain.from_iterable(map(_pixels, of_picture)):
                sums = merge(sums, to_host(sums_of(*pixels)))
            row = {"index": index, "confusion": sums["confusion"], "valid": True}
            rows = PerExample({name: np.asarray(value)[None] for name, value in row.items()})
            total = merge(total, {**sums, "predictions": rows})
        return total

    return evaluate


def _pixels(band: Band) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Logits (n, K), masks (n,) and whether they count (n,), all of one n and filled up to it."""
    height, width, outputs = band.logits.shape
    mask = band.picture.read(band.top, 0, height, width)["mask"].reshape(-1)
    logits = band.logits.reshape(-1, outputs)
    for start in range(0, len(mask), _PIXELS):
        here = slice(start, start + _PIXELS)
        beyond = max(0, start + _PIXELS - len(mask))
        yield (
            np.pad(logits[here], ((0, beyond), (0, 0))),
            np.pad(mask[here], (0, beyond)),
            np.arange(_PIXELS) < _PIXELS - beyond,
        )
