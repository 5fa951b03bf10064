"""Semantic segmentation: a class for every pixel that has a label of interest."""

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
from ssl_jax.objectives.shared import DROPOUT, apply_in_train_mode, make_example_keys


def kept_classes(classes: tuple[str, ...], excluded: tuple[int, ...]) -> tuple[int, ...]:
    """The places in `classes` of those that are learned: the outputs of the network, in order."""
    return tuple(i for i in range(len(classes)) if i not in excluded)


_IDENTITY = SegmentationAugmentation()


@dataclass(frozen=True)
class Segmentation:
    """Cross-entropy over the labelled pixels of the whole batch.

    model: `(image (B, H, W, C), train) -> logits (B, H, W, K)`, in training a pair of these and the
        auxiliary head's. K is the number of `kept` classes.
    classes: all classes of the dataset, in the order of the labels in its masks.
    excluded: labels that are neither trained nor predicted nor counted, as if they were ignored.
    ignore_label: the value of pixels without a label.
    """

    model: nn.Module
    normalise: Normalisation
    classes: tuple[str, ...]
    views: SegmentationAugmentation = _IDENTITY
    excluded: tuple[int, ...] = ()
    ignore_label: int = 255
    auxiliary_weight: float = 0.4
    accumulate: int = 1

    @property
    def kept(self) -> tuple[int, ...]:
        """Label of each output of the network."""
        return kept_classes(self.classes, self.excluded)

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh variables, also of the auxiliary head; of `batch` only the shapes matter."""
        batch = {name: batch[name][:1] for name in ("image", "mask", "index")}
        variables = self.model.init(key, self._views(batch, key)[0], train=True)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Loss whose mean over the devices is the mean over all labelled pixels of the batch."""

        def forward(batch_stats: Any, part: dict[str, Array]) -> tuple[Any, dict[str, Array]]:
            image, mask = self._views(part, key)
            current = {"params": variables["params"], "batch_stats": batch_stats}
            keys = make_example_keys(jax.random.fold_in(key, DROPOUT), part["index"])
            (logits, auxiliary), batch_stats = apply_in_train_mode(
                self.model, current, image, keys=keys
            )
            target, counted = self._targets(mask)
            hits = (jnp.argmax(logits, axis=-1) == target) & counted
            accumulators = {
                "loss": _cross_entropy(logits, target, counted),
                "auxiliary": _cross_entropy(auxiliary, target, counted),
                "hits": hits.sum(axis=(1, 2)),
                "count": counted.sum(axis=(1, 2)),
            }
            return batch_stats, accumulators

        batch_stats, accumulators = apply_in_micro_batches(forward, self.accumulate)(
            variables["batch_stats"], {k: batch[k] for k in ("image", "mask", "index")}
        )
        total = jax.tree.map(lambda x: x.sum(axis=0), accumulators)
        pixels = jax.lax.pmean(total["count"].astype(jnp.float32), "data")
        loss = total["loss"] + self.auxiliary_weight * total["auxiliary"]
        means = {
            "loss": Mean(total["loss"], total["count"]),
            "auxiliary_loss": Mean(total["auxiliary"], total["count"]),
            "OA": Mean(total["hits"], total["count"]),
        }
        aux = {"batch_stats": batch_stats, "accumulators": means}
        return loss / jnp.where(pixels == 0, 1.0, pixels), aux

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """`loss`, the `confusion` of the kept classes, pixel by pixel, and each example's own."""
        logits = self.logits(variables, batch["image"])
        of_each = jax.vmap(self.accumulate_pixels)(logits, batch["mask"], batch["valid"])
        rows = {name: batch[name] for name in ("index", "valid")}
        rows["confusion"] = of_each["confusion"]
        total = jax.tree.map(lambda x: x.sum(axis=0), of_each)
        return total | {"predictions": PerExample(rows)}

    def logits(self, variables: dict[str, Any], image: Array) -> Array:
        """Logits (B, H, W, K) float32 of images in digital numbers, one for each `kept` class."""
        return self.model.apply(variables, self.normalise(image)).astype(jnp.float32)

    def accumulate_pixels(self, logits: Array, mask: Array, valid: Array) -> dict[str, Any]:
        """`loss` and `confusion` over pixels whose logits (..., K) are known.

        `mask` (...) holds their labels, of which those that are not `valid` (...) don't count.
        """
        target, counted = self._targets(mask)
        counted &= valid
        predicted = jnp.argmax(logits, axis=-1)
        return {
            "loss": Mean(_cross_entropies(logits, target, counted).sum(), counted.sum()),
            "confusion": metrics.confusion_matrix(target, predicted, len(self.kept), counted),
        }

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """`loss`, `OA`, and over a whole set `mIoU`, `mF1`, `kappa` and the IoU of each class."""
        figures = {
            n: float(mean.value) for n, mean in accumulators.items() if isinstance(mean, Mean)
        }
        if "confusion" in accumulators:
            confusion = accumulators["confusion"]
            figures["OA"] = metrics.overall_accuracy(confusion)
            figures["mIoU"] = metrics.mean_iou(confusion)
            figures["mF1"] = metrics.f1(confusion)
            figures["kappa"] = metrics.kappa(confusion)
            for label, iou in zip(self.kept, metrics.per_class_iou(confusion), strict=True):
                figures[f"IoU/{self.classes[label]}"] = float(iou)
        return figures

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Labels (B, H, W) uint8, never an excluded one, of images in digital numbers."""
        output = jnp.argmax(self.logits(variables, image), axis=-1)
        return jnp.asarray(self.kept, jnp.uint8)[output]

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Images in unit values (B, H, W, C), masks and predicted labels (B, H, W) uint8."""
        return {
            "image": self.normalise.unit(batch["image"]),
            "mask": batch["mask"],
            "prediction": self.predict(variables, batch["image"]),
        }

    def _views(self, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        keys = make_example_keys(key, batch["index"])
        unit = self.normalise.unit(batch["image"])
        image, mask = jax.vmap(self.views)(keys, unit, batch["mask"])
        return self.normalise.standardise(image), mask

    def _targets(self, mask: Array) -> tuple[Array, Array]:
        """Output of the network that is right for each pixel, and whether the pixel counts."""
        output = np.full(256, -1, np.int32)
        labels = [label for label in self.kept if label != self.ignore_label]
        output[labels] = [self.kept.index(label) for label in labels]
        target = jnp.asarray(output)[mask.astype(jnp.int32)]
        return jnp.maximum(target, 0), target >= 0


def _cross_entropy(logits: Array, target: Array, counted: Array) -> Array:
    """Sum over the counted pixels of each example, (B,)."""
    return _cross_entropies(logits, target, counted).sum(axis=(1, 2))


def _cross_entropies(logits: Array, target: Array, counted: Array) -> Array:
    """Of every pixel (...), 0 where it isn't counted."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), target)
    return jnp.where(counted, losses, 0.0)
