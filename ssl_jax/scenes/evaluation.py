"""Figures of segmentation over whole pictures, where every pixel counts once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ssl_jax.metrics import Accumulators, PerExample, merge_accumulators, to_host
from ssl_jax.objectives import Segmentation
from ssl_jax.scenes.sliding_window import (
    LargeImage,
    RowBlock,
    SlidingWindow,
    compute_sliding_logits,
    make_window_step,
)
from ssl_jax.training.shutdown import ShutdownSignal

__all__ = ["ImageEvaluation", "make_image_evaluation"]

# Pixels whose sums are taken at once: one shape, whatever the size of a picture.
_PIXELS = 2**18

# (variables replicated over the mesh, when to stop) -> sums over all labelled pixels
ImageEvaluation = Callable[[Any, ShutdownSignal | None], Accumulators]


def make_image_evaluation(
    objective: Segmentation,
    images: Sequence[LargeImage],
    sliding: SlidingWindow,
    mesh: Mesh,
    batch_size: int,
) -> ImageEvaluation:
    """The evaluation on pictures; the same on all processes.

    They have a `mask` beside the `image`, and an `index` that tells them apart. Cross-entropy and
    classes are those of the logits averaged over windows and flips. `batch_size` windows at a time
    are spread over the mesh. The evaluation raises `Stopped` if asked to stop.
    In its `predictions` there is a row for each picture.
    """
    step = make_window_step(objective.logits, mesh, sliding.flips)
    sums_of = jax.jit(objective.accumulate_pixels)

    def evaluate(variables: Any, stop: ShutdownSignal | None) -> Accumulators:
        total: Accumulators = {}
        bands = compute_sliding_logits(step, variables, images, sliding, mesh, batch_size, stop)
        for index, of_picture in itertools.groupby(bands, lambda band: band.image.index):
            accumulators: Accumulators = {}
            for pixels in itertools.chain.from_iterable(map(_pixels, of_picture)):
                accumulators = merge_accumulators(accumulators, to_host(sums_of(*pixels)))
            row = {"index": index, "confusion": accumulators["confusion"], "valid": True}
            rows = PerExample({name: np.asarray(value)[None] for name, value in row.items()})
            total = merge_accumulators(total, {**accumulators, "predictions": rows})
        return total

    return evaluate


def _pixels(band: RowBlock) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Logits (n, K), masks (n,) and whether they count (n,), all of one n and filled up to it."""
    height, width, outputs = band.logits.shape
    mask = band.image.read(band.top, 0, height, width)["mask"].reshape(-1)
    logits = band.logits.reshape(-1, outputs)
    for start in range(0, len(mask), _PIXELS):
        here = slice(start, start + _PIXELS)
        beyond = max(0, start + _PIXELS - len(mask))
        yield (
            np.pad(logits[here], ((0, beyond), (0, 0))),
            np.pad(mask[here], (0, beyond)),
            np.arange(_PIXELS) < _PIXELS - beyond,
        )
