"""Evaluation of segmentation on images of any size, in which every pixel counts once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from ssl_jax.devices.processes import sum_over_processes
from ssl_jax.metrics import Accumulators, Mean, PerExample
from ssl_jax.objectives import Segmentation
from ssl_jax.scenes.large_image import LargeImage
from ssl_jax.scenes.reading import Task
from ssl_jax.scenes.sweep import make_sweep
from ssl_jax.scenes.sweep_plan import SlidingWindow, SweepPlan, deal
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

__all__ = ["ImageEvaluation", "make_image_evaluation"]


class LabelledImage(LargeImage, Protocol):
    """An image whose rectangles have a `mask` besides the `image`, (height, width) labels."""

    @property
    def index(self) -> int:
        """A number that identifies the image."""
        ...


# (variables replicated over the mesh, shutdown signal) -> accumulators over all labelled pixels
ImageEvaluation = Callable[[Any, ShutdownSignal | None], Accumulators]


def make_image_evaluation(
    objective: Segmentation,
    images: Sequence[LabelledImage],
    sliding: SlidingWindow,
    mesh: Mesh,
) -> ImageEvaluation:
    """Make a function that evaluates segmentation on images by a sliding window.

    Cross-entropy and predicted classes are those of the logits blended over windows and flips.

    Args:
        objective: The objective.
        images: The images.
        sliding: The sliding window.
        mesh: The devices.

    Returns:
        A function with the same result on all processes, bit for bit that of one device. Its
        `predictions` have one row per image. It raises `Stopped` if a shutdown is requested.
    """
    sweep = make_sweep(objective.logits, partial(_count, objective), mesh, sliding.flips)
    outputs = len(objective.kept)
    alike: dict[SweepPlan, list[int]] = {}  # images of a size are shared among the devices
    for position, image in enumerate(images):
        plan = SweepPlan.for_image(image.height, image.width, sliding, outputs)
        alike.setdefault(plan, []).append(position)
    portions = [
        (plan, [(position, block) for position in positions for block in plan.blocks])
        for plan, positions in alike.items()
    ]

    def evaluate(variables: Any, stop: ShutdownSignal | None) -> Accumulators:
        # A loss has a place of its own, to be added in the same order whoever computes it.
        losses = [np.zeros(len(blocks)) for _, blocks in portions]
        pixels = np.zeros(len(images), np.int64)
        confusion = np.zeros((len(images), outputs, outputs), np.int64)
        is_stopped = False
        try:
            for (plan, blocks), loss in zip(portions, losses, strict=True):
                own = deal(range(len(blocks)), jax.process_count())[jax.process_index()]
                tasks = [Task(images[blocks[n][0]], blocks[n][1]) for n in own]
                for index, _, sums in sweep(variables, plan, tasks, partial(_check, stop)):
                    if sums is not None:
                        position = blocks[own[index]][0]
                        loss[own[index]] = sums["loss"].total
                        pixels[position] += sums["loss"].count
                        confusion[position] += sums["confusion"]
        except Stopped:
            is_stopped = True
        # The processes meet here for the first time, whether they have stopped or not.
        if stop is not None and stop.agree(is_stopped):
            raise Stopped
        own_sums = (np.concatenate(losses), pixels, confusion)
        return _make_accumulators(images, *map(sum_over_processes, own_sums))

    return evaluate


def _make_accumulators(
    images: Sequence[LabelledImage], losses: np.ndarray, pixels: np.ndarray, confusion: np.ndarray
) -> Accumulators:
    """Make accumulators from the losses of blocks, and the pixels and confusion of images."""
    rows = {
        "index": np.asarray([image.index for image in images], np.int64),
        "confusion": confusion,
        "valid": np.ones(len(images), bool),
    }
    return {
        "loss": Mean(losses.sum(), pixels.sum()),
        "confusion": confusion.sum(axis=0),
        "predictions": PerExample(rows),
    }


def _check(stop: ShutdownSignal | None) -> None:
    if stop is not None and stop.is_announced():
        raise Stopped


def _count(
    objective: Segmentation, logits: Array, pixels: Mapping[str, Array]
) -> tuple[None, Accumulators]:
    """Compute the accumulators `loss` and `confusion` of pixels from logits (h, w, K)."""
    return None, objective.accumulate_pixels(logits, pixels["mask"], pixels["computed"])
