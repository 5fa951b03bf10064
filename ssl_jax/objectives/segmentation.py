"""Semantic segmentation: the classification of each labelled pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ssl_jax import metrics
from ssl_jax.augment import Normalisation, SegmentationAugmentation
from ssl_jax.metrics import Mean, PerExample
from ssl_jax.objectives.micro_batches import apply_in_micro_batches
from ssl_jax.objectives.shared import (
    DROPOUT,
    apply_in_train_mode,
    check_values,
    make_example_keys,
)


def kept_classes(classes: tuple[str, ...], excluded: tuple[int, ...]) -> tuple[int, ...]:
    """Return the indices of the classes that are not excluded: the network's outputs, in order.

    Args:
        classes: All classes of the dataset.
        excluded: Indices of the excluded classes.
    """
    return tuple(i for i in range(len(classes)) if i not in excluded)


_IDENTITY = SegmentationAugmentation()


@dataclass(frozen=True)
class Segmentation:
    """The objective of cross-entropy over the labelled pixels of the whole batch.

    Attributes:
        model: Network `(image (B, H, W, C), train) -> logits (B, H, W, K)`, where K is the number
            of `kept` classes. In training it returns a pair of these and the auxiliary head's.
        normalise: Normalisation of the images.
        classes: All classes of the dataset, in the order of the labels in its masks.
        views: Augmentation of images and masks.
        excluded: Labels that are excluded from training, prediction and metrics, like
            `ignore_label`.
        ignore_label: Value of pixels without a label.
        auxiliary_weight: Weight of the auxiliary head's loss.
        class_weights: Factor of the loss of the pixels of each class in training, in the order of
            `classes`; empty for 1. Metrics are unweighted.
        accumulate: Number of micro-batches that a device's batch is split into.
    """

    model: nn.Module
    normalise: Normalisation
    classes: tuple[str, ...]
    views: SegmentationAugmentation = _IDENTITY
    excluded: tuple[int, ...] = ()
    ignore_label: int = 255
    auxiliary_weight: float = 0.4
    class_weights: tuple[float, ...] = ()
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_values(self.accumulate, self.class_weights, self.classes)
        if not self.auxiliary_weight >= 0:
            raise ValueError(
                f"auxiliary_weight: found {self.auxiliary_weight}; expected at least 0"
            )

    @property
    def kept(self) -> tuple[int, ...]:
        """The label of each output of the network."""
        return kept_classes(self.classes, self.excluded)

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Initialise the variables, with the auxiliary head; only the shapes of `batch` matter."""
        batch = {name: batch[name][:1] for name in ("image", "mask", "index")}
        variables = self.model.init(key, self._make_views(batch, key)[0], train=True)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Compute the loss, whose mean over devices is the mean over all labelled pixels."""

        def forward(
            batch_stats: Any, micro_batch: dict[str, Array]
        ) -> tuple[Any, dict[str, Array]]:
            image, mask = self._make_views(micro_batch, key)
            current = {"params": variables["params"], "batch_stats": batch_stats}
            keys = make_example_keys(jax.random.fold_in(key, DROPOUT), micro_batch["index"])
            (logits, auxiliary), batch_stats = apply_in_train_mode(
                self.model, current, image, keys=keys
            )
            target, counted = self._make_targets(mask)
            correct = (jnp.argmax(logits, axis=-1) == target) & counted
            losses = _cross_entropy(logits, target, counted)
            auxiliary_losses = _cross_entropy(auxiliary, target, counted)
            weighted = losses + self.auxiliary_weight * auxiliary_losses
            sums = {
                "weighted": (weighted * self._make_weights(target)).sum(axis=(1, 2)),
                "loss": losses.sum(axis=(1, 2)),
                "auxiliary": auxiliary_losses.sum(axis=(1, 2)),
                "correct": correct.sum(axis=(1, 2)),
                "count": counted.sum(axis=(1, 2)),
            }
            return batch_stats, sums

        batch_stats, sums = apply_in_micro_batches(forward, self.accumulate)(
            variables["batch_stats"], {k: batch[k] for k in ("image", "mask", "index")}
        )
        total = jax.tree.map(lambda x: x.sum(axis=0), sums)
        num_pixels = jax.lax.pmean(total["count"].astype(jnp.float32), "data")
        means = {
            "loss": Mean(total["loss"], total["count"]),
            "auxiliary_loss": Mean(total["auxiliary"], total["count"]),
            "OA": Mean(total["correct"], total["count"]),
        }
        aux = {"batch_stats": batch_stats, "accumulators": means}
        return total["weighted"] / jnp.where(num_pixels == 0, 1.0, num_pixels), aux

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """Compute `loss`, the `confusion` of the kept classes over pixels, and `predictions`.

        The latter contain the confusion matrix of each example.
        """
        logits = self.logits(variables, batch["image"])
        per_example = jax.vmap(self.accumulate_pixels)(logits, batch["mask"], batch["valid"])
        rows = {name: batch[name] for name in ("index", "valid")}
        rows["confusion"] = per_example["confusion"]
        total = jax.tree.map(lambda x: x.sum(axis=0), per_example)
        return total | {"predictions": PerExample(rows)}

    def logits(self, variables: dict[str, Any], image: Array) -> Array:
        """Compute the logits of each `kept` class.

        Args:
            variables: The variables.
            image: Images in digital numbers, (B, H, W, C).

        Returns:
            Logits, (B, H, W, K) float32.
        """
        return self.model.apply(variables, self.normalise(image)).astype(jnp.float32)

    def accumulate_pixels(self, logits: Array, mask: Array, valid: Array) -> dict[str, Any]:
        """Compute the accumulators `loss` and `confusion` of pixels from their logits.

        Args:
            logits: Logits, (..., K).
            mask: Labels, (...) integer.
            valid: Whether a pixel counts, (...) bool.
        """
        target, counted = self._make_targets(mask)
        counted &= valid
        predicted = jnp.argmax(logits, axis=-1)
        return {
            "loss": Mean(_cross_entropy(logits, target, counted).sum(), counted.sum()),
            "confusion": metrics.confusion_matrix(target, predicted, len(self.kept), counted),
        }

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """Compute `loss` and `OA`, and in evaluation `mIoU`, `mF1`, `kappa` and IoU per class."""
        values = {
            name: float(mean.value) for name, mean in accumulators.items() if isinstance(mean, Mean)
        }
        if "confusion" in accumulators:
            confusion = accumulators["confusion"]
            values["OA"] = metrics.overall_accuracy(confusion)
            values["mIoU"] = metrics.mean_iou(confusion)
            values["mF1"] = metrics.f1(confusion)
            values["kappa"] = metrics.kappa(confusion)
            for label, iou in zip(self.kept, metrics.per_class_iou(confusion), strict=True):
                values[f"IoU/{self.classes[label]}"] = float(iou)
        return values

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Predict the labels of images, which are never excluded ones.

        Args:
            variables: The variables.
            image: Images in digital numbers, (B, H, W, C).

        Returns:
            Labels, (B, H, W) uint8.
        """
        output = jnp.argmax(self.logits(variables, image), axis=-1)
        return jnp.asarray(self.kept, jnp.uint8)[output]

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Compute images in unit values (B, H, W, C), masks and predicted labels (B, H, W)."""
        return {
            "image": self.normalise.unit(batch["image"]),
            "mask": batch["mask"],
            "prediction": self.predict(variables, batch["image"]),
        }

    def _make_views(self, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        """Draw standardised views (B, h, w, C) and their masks (B, h, w)."""
        keys = make_example_keys(key, batch["index"])
        unit = self.normalise.unit(batch["image"])
        image, mask = jax.vmap(self.views)(keys, unit, batch["mask"])
        return self.normalise.standardise(image), mask

    def _make_targets(self, mask: Array) -> tuple[Array, Array]:
        """Return the index of each pixel's correct output, and whether the pixel counts, (...)."""
        output = np.full(256, -1, np.int32)
        labels = [label for label in self.kept if label != self.ignore_label]
        output[labels] = [self.kept.index(label) for label in labels]
        target = jnp.asarray(output)[mask.astype(jnp.int32)]
        return jnp.maximum(target, 0), target >= 0

    def _make_weights(self, target: Array) -> Array:
        """Return the factor of the loss of each pixel (...), given its output's index."""
        if not self.class_weights:
            return jnp.ones((), jnp.float32)
        return jnp.asarray([self.class_weights[label] for label in self.kept])[target]


def _cross_entropy(logits: Array, target: Array, counted: Array) -> Array:
    """Compute the loss of each pixel (...) from logits (..., K); 0 for pixels that don't count."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), target)
    return jnp.where(counted, losses, 0.0)
