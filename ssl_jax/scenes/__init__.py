"""Evaluation of images of any size by a sliding window."""

from ssl_jax.scenes.evaluation import ImageEvaluation, make_image_evaluation
from ssl_jax.scenes.sliding_window import (
    LargeImage,
    RowBlock,
    SlidingWindow,
    compute_sliding_logits,
    make_window_step,
)
from ssl_jax.scenes.windows import Window, make_windows

__all__ = [
    "ImageEvaluation",
    "LargeImage",
    "RowBlock",
    "SlidingWindow",
    "Window",
    "compute_sliding_logits",
    "make_image_evaluation",
    "make_window_step",
    "make_windows",
]
