"""Training objectives, which compute a loss and exact metrics from a batch of raw images.

To add an objective, write a frozen dataclass with the methods of `Objective` in a file of its own.

Shared functions are in `micro_batches` (gradient accumulation) and `shared` (views and variables).
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
    """The interface of an objective, on which the training loop depends.

    Variables are `{"params": ..., "batch_stats": ...}`. A batch contains `image` (B, H, W, C) in
    digital numbers, `index` (B,) with the global indices of the examples, the target if there is
    one (`label` (B,), `labels` (B, classes) or `mask` (B, H, W)), and in evaluation `valid` (B,),
    which is false for padding.
    """

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Initialise the variables.

        It runs outside the mesh and depends only on the shapes of the batch, not on its values.

        Args:
            key: Random key.
            batch: A batch.

        Returns:
            The variables.
        """
        ...

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Compute the loss of one device's part of the batch.

        It runs in `shard_map` over `data`. The step takes the gradient of the *mean over the
        devices* of this loss, so that a loss over n labelled pixels is `sum / pmean(n)`. Views and
        masks are drawn from the key and each example's index, and never depend on the device.

        Args:
            variables: The variables.
            batch: The device's part of the batch.
            key: Random key of the step.

        Returns:
            The loss, and `{"batch_stats": new, "accumulators": {name: Mean}}`, where the
            accumulators are those of this device.
        """
        ...

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """Compute this device's accumulators over the valid examples.

        It runs in `shard_map` over `data` and is deterministic.

        Args:
            variables: The variables.
            batch: The device's part of the batch, with `valid`.

        Returns:
            `Mean`, confusion matrices and `PerExample` by name.
        """
        ...

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """Compute metrics from accumulators of `loss` or of `evaluate`, merged on the host."""
        ...

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Compute the predictions of a checkpoint.

        Args:
            variables: The variables.
            image: Images in digital numbers, (B, H, W, C).

        Returns:
            Scores (B, classes), labels (B, H, W) or, for a pretrained backbone, representations
            (B, D).
        """
        ...

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Compute arrays (B, ...) for the report's images, without collective operations."""
        ...
