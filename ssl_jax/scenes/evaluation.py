"""Evaluation of segmentation on images of any size, in which every pixel counts once."""

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

# Pixels are accumulated in chunks of one shape, so that images of all sizes share a compilation.
_CHUNK_SIZE = 2**18

# (variables replicated over the mesh, shutdown signal) -> accumulators over all labelled pixels
ImageEvaluation = Callable[[Any, ShutdownSignal | None], Accumulators]


def make_image_evaluation(
    objective: Segmentation,
    images: Sequence[LargeImage],
    sliding: SlidingWindow,
    mesh: Mesh,
    batch_size: int,
) -> ImageEvaluation:
    """Make a function that evaluates segmentation on images by a sliding window.

    Cross-entropy and predicted classes are those of the logits averaged over windows and flips.

    Args:
        objective: The objective.
        images: The images, which have a `mask` besides the `image`, and a unique `index`.
        sliding: The sliding window.
        mesh: The devices.
        batch_size: Windows per batch over all devices, a multiple of their number.

    Returns:
        A function with the same result on all processes. Its `predictions` have one row per image.
        It raises `Stopped` if a shutdown is requested.
    """
    step = make_window_step(objective.logits, mesh, sliding.flips)
    accumulate = jax.jit(objective.accumulate_pixels)

    def evaluate(variables: Any, stop: ShutdownSignal | None) -> Accumulators:
        total: Accumulators = {}
        blocks = compute_sliding_logits(step, variables, images, sliding, mesh, batch_size, stop)
        for index, image_blocks in itertools.groupby(blocks, lambda block: block.image.index):
            accumulators: Accumulators = {}
            for chunk in itertools.chain.from_iterable(map(_split_into_chunks, image_blocks)):
                accumulators = merge_accumulators(accumulators, to_host(accumulate(*chunk)))
            row = {"index": index, "confusion": accumulators["confusion"], "valid": True}
            rows = PerExample({name: np.asarray(value)[None] for name, value in row.items()})
            total = merge_accumulators(total, {**accumulators, "predictions": rows})
        return total

    return evaluate


def _split_into_chunks(block: RowBlock) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield chunks of n pixels: logits (n, K), labels (n,) and whether they are valid (n,) bool."""
    height, width, outputs = block.logits.shape
    mask = block.image.read(block.top, 0, height, width)["mask"].reshape(-1)
    logits = block.logits.reshape(-1, outputs)
    for start in range(0, len(mask), _CHUNK_SIZE):
        chunk = slice(start, start + _CHUNK_SIZE)
        padding = max(0, start + _CHUNK_SIZE - len(mask))
        yield (
            np.pad(logits[chunk], ((0, padding), (0, 0))),
            np.pad(mask[chunk], (0, padding)),
            np.arange(_CHUNK_SIZE) < _CHUNK_SIZE - padding,
        )
