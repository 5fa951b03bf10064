"""Whole pictures, of any size, through a network that sees a window at a time."""

from ssl_jax.scenes.evaluation import PictureEvaluation, picture_evaluation
from ssl_jax.scenes.sliding import Band, Picture, SlidingWindow, sliding_logits, window_step
from ssl_jax.scenes.windows import Window, windows

__all__ = [
    "Band",
    "Picture",
    "PictureEvaluation",
    "SlidingWindow",
    "Window",
    "picture_evaluation",
    "sliding_logits",
    "window_step",
    "windows",
]
