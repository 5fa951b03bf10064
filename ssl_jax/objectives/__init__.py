"""What is learned: an objective turns a batch of raw images into a loss and into exact figures.

To add one, write a frozen dataclass with the methods of `Objective` in a file of its own.

What they share: micro-batches in `micro_batches`, features and normalisation in `shared`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from jax import Array

from ssl_jax.objectives.classification import Classification
from ssl_jax.objectives.mae import MAE
from ssl_jax.objectives.representation import Representation
from ssl_jax.objectives.segmentation import Segmentation, kept_classes
from ssl_jax.objectives.simclr import SimCLR

__all__ = [
    "MAE",
    "Classification",
    "Objective",
    "Representation",
    "Segmentation",
    "SimCLR",
    "kept_classes",
]


class Objective(Protocol):
    """The training loop knows an objective only by these methods.

    Variables are `{"params": ..., "batch_stats": ...}`. A batch holds `image` (B, H, W, C) in
    digital numbers, `index` (B,) the examples' global numbers, the target if there is one (`label`
    (B,), `labels` (B, classes) or `mask` (B, H, W)), and in evaluation `valid` (B,), false for
    padding.
    """

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh variables; runs outside of the mesh and uses no value of the batch, only shapes."""
        ...

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Loss of one device's part of the batch and `{"batch_stats": new, "accumulators": {name:
        Mean}}`.

        Runs in `shard_map` over `data`. The step takes the gradient of the *mean over the devices*
        of this loss, so that a loss over n labelled pixels is `sum / pmean(n)`. The sums are this
        device's. Views and masks are drawn from the key and each example's index, never from the
        device.
        """
        ...

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """This device's sums over the valid examples: `Mean`, confusion matrices, `PerExample`.

        Runs in `shard_map` over `data`; deterministic.
        """
        ...

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """Figures from sums merged on the host, be they those of `loss` or of `evaluate`."""
        ...

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """What a user of the checkpoint wants of images (B, H, W, C) in digital numbers.

        Scores (B, classes), labels (B, H, W) or, of a pretrained backbone, representations (B, D).
        """
        ...

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Arrays with the examples first, for the report's pictures; without collectives."""
        ...
