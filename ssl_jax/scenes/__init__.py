"""Images of any size through a network, by a sliding window.

`sweep_plan` decides which windows an image is seen through and in what portions; `sweep` computes
them, by the commands that `commands` makes of what `reading` reads, and that the `programs` carry
out.
"""

from ssl_jax.scenes.evaluation import ImageEvaluation, make_image_evaluation
from ssl_jax.scenes.large_image import LargeImage
from ssl_jax.scenes.reading import Task
from ssl_jax.scenes.sweep import Finished, Sweep, make_sweep
from ssl_jax.scenes.sweep_plan import Block, SlidingWindow, SweepPlan, compute_weights, deal

__all__ = [
    "Block",
    "Finished",
    "ImageEvaluation",
    "LargeImage",
    "SlidingWindow",
    "Sweep",
    "SweepPlan",
    "Task",
    "compute_weights",
    "deal",
    "make_image_evaluation",
    "make_sweep",
]
