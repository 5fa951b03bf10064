"""Single- or multi-label classification of tiles with a frozen or fine-tuned backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from ssl_jax import metrics
from ssl_jax.augment import Augmentation, Mix, Normalisation
from ssl_jax.metrics import Mean, PerExample
from ssl_jax.objectives.micro_batches import apply_in_micro_batches
from ssl_jax.objectives.shared import (
    DROPOUT,
    MIXING,
    apply_in_train_mode,
    check_values,
    make_deterministic_view,
    make_example_keys,
    make_random_views,
    submodule_variables,
)

_IDENTITY, _NO_MIX = Augmentation(), Mix()


@dataclass(frozen=True)
class Classification:
    """The objective of classification by a head on a backbone.

    Attributes:
        backbone: Network `(image (B, H, W, C), train) -> (B, D)`.
        head: Network `((B, D), train) -> (B, classes)`.
        normalise: Normalisation of the images.
        classes: Names of the classes.
        views: Augmentation in training.
        evaluation_views: Augmentation in evaluation.
        frozen: Whether the backbone runs in evaluation mode and gets no gradient. A batch may then
            contain precomputed `features` (B, D) in place of `image`: the backbone is skipped, and
            `init` creates variables of the head only.
        multi_label: Whether the target is `labels` (B, classes) of zeros and ones, with a sigmoid
            for each, rather than one `label` (B,), with a softmax.
        label_smoothing: Fraction of the target probability that is distributed uniformly over the
            classes or, with several labels, over 0 and 1.
        class_weights: Factor of the loss of each class in training; empty for 1. With several
            labels it is that of each label's part. Metrics are unweighted.
        mix: Mixing of neighbouring examples and their targets.
        accumulate: Number of micro-batches that a device's batch is split into.
    """

    backbone: nn.Module
    head: nn.Module
    normalise: Normalisation
    classes: tuple[str, ...]
    views: Augmentation = _IDENTITY
    evaluation_views: Augmentation = _IDENTITY
    frozen: bool = True
    multi_label: bool = False
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    mix: Mix = _NO_MIX
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_values(self.accumulate, self.class_weights, self.classes)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing: found {self.label_smoothing}; expected at least 0 and below 1"
            )

    @property
    def precomputable(self) -> bool:
        """Whether features can be precomputed, since they are the same in every step."""
        constant_views = self.views == self.evaluation_views and self.views.deterministic
        return self.frozen and constant_views and self.mix.group_size == 1

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Initialise variables under `backbone` and `head`; only the shapes of `batch` matter."""
        backbone_key, head_key = jax.random.split(key)
        modules = {}
        if "features" in batch:
            features = batch["features"][:1]
        else:
            view = make_deterministic_view(
                self.evaluation_views, self.normalise, batch["image"][:1]
            )
            features, modules["backbone"] = self.backbone.init_with_output(backbone_key, view)
        modules["head"] = self.head.init(head_key, features)
        return {
            collection: {name: v[collection] for name, v in modules.items() if collection in v}
            for collection in ("params", "batch_stats")
        }

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Compute the mean cross-entropy of this device's examples.

        For `top1` the class with the largest target probability is the correct one.
        """

        def forward(
            batch_stats: Any, micro_batch: dict[str, Array]
        ) -> tuple[Any, tuple[Array, Array]]:
            current = {"params": variables["params"], "batch_stats": batch_stats}
            backbone_keys, head_keys = jax.vmap(jax.random.split, out_axes=1)(
                make_example_keys(jax.random.fold_in(key, DROPOUT), micro_batch["index"])
            )
            backbone, head = (
                submodule_variables(current, "backbone"),
                submodule_variables(current, "head"),
            )
            inputs, targets = self._make_inputs(micro_batch, key)
            if self.frozen or "features" in micro_batch:
                if "features" not in micro_batch:
                    inputs = self.backbone.apply(backbone, inputs)
                features = jax.lax.stop_gradient(inputs)
                new_backbone_stats = backbone.get("batch_stats", {})
            else:
                features, new_backbone_stats = apply_in_train_mode(
                    self.backbone, backbone, inputs, keys=backbone_keys
                )
            logits, new_head_stats = apply_in_train_mode(self.head, head, features, keys=head_keys)
            new_stats = {"backbone": new_backbone_stats, "head": new_head_stats}
            return {name: new_stats[name] for name in batch_stats}, (logits, targets)

        names = ("features" if "features" in batch else "image", "index", self._target_name)
        batch_stats, (logits, targets) = apply_in_micro_batches(
            forward, self.accumulate, self.mix.group_size
        )(variables["batch_stats"], {name: batch[name] for name in names})
        losses = self._cross_entropy(logits, targets)
        accumulators = {"loss": Mean.from_values(losses)}
        if not self.multi_label:
            accumulators["top1"] = Mean.from_values(
                logits.argmax(axis=-1) == targets.argmax(axis=-1)
            )
        weighted = self._cross_entropy(logits, targets, self.class_weights)
        return weighted.mean(), {"batch_stats": batch_stats, "accumulators": accumulators}

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """Compute `loss`, the `predictions` of each example and, with one label, further metrics.

        These are `top1` and `confusion`.
        """
        logits = self._logits(variables, batch)
        valid = batch["valid"]
        losses = self._cross_entropy(logits, self._make_targets(batch))
        accumulators: dict[str, Any] = {"loss": Mean.from_values(losses, valid)}
        rows = {"index": batch["index"], "valid": valid}
        if self.multi_label:
            rows |= {"scores": jax.nn.sigmoid(logits), "targets": batch["labels"]}
            return accumulators | {"predictions": PerExample(rows)}
        predicted, label = jnp.argmax(logits, axis=-1), batch["label"]
        accumulators["predictions"] = PerExample(rows | {"label": label, "predicted": predicted})
        accumulators["top1"] = Mean.from_values(predicted == label, valid)
        accumulators["confusion"] = metrics.confusion_matrix(
            label, predicted, len(self.classes), valid
        )
        return accumulators

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """Compute `loss` and `top1`, and in evaluation `f1` and `kappa`.

        With several labels they are `loss` and in evaluation `mAP`.
        """
        values = {
            name: float(mean.value) for name, mean in accumulators.items() if isinstance(mean, Mean)
        }
        if "confusion" in accumulators:
            values["f1"] = metrics.f1(accumulators["confusion"])
            values["kappa"] = metrics.kappa(accumulators["confusion"])
        if "predictions" in accumulators and self.multi_label:
            values["mAP"] = metrics.mean_average_precision(accumulators["predictions"])
        return values

    def extract_features(self, variables: dict[str, Any], batch: dict[str, Array]) -> Array:
        """Compute the backbone's features (B, D) float32 in evaluation mode."""
        view = make_deterministic_view(self.evaluation_views, self.normalise, batch["image"])
        return self.backbone.apply(submodule_variables(variables, "backbone"), view).astype(
            jnp.float32
        )

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Compute probabilities (B, classes) of images (B, H, W, C) in digital numbers."""
        logits = self._logits(variables, {"image": image})
        return jax.nn.sigmoid(logits) if self.multi_label else jax.nn.softmax(logits)

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Compute images in unit values (B, H, W, C), labels and predicted scores (B, classes)."""
        scores = self.predict(variables, batch["image"])
        image = self.normalise.unit(batch["image"])
        return {"image": image, self._target_name: batch[self._target_name], "scores": scores}

    def _logits(self, variables: dict[str, Any], batch: dict[str, Array]) -> Array:
        features = (
            batch["features"] if "features" in batch else self.extract_features(variables, batch)
        )
        return self.head.apply(submodule_variables(variables, "head"), features).astype(jnp.float32)

    @property
    def _target_name(self) -> str:
        return "labels" if self.multi_label else "label"

    def _make_inputs(self, micro_batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        """Return features (B, D) or random views (B, h, w, C), and targets (B, classes)."""
        targets = self._make_targets(micro_batch, self.label_smoothing)
        if "features" in micro_batch:
            return micro_batch["features"], targets
        keys = make_example_keys(key, micro_batch["index"])
        views = make_random_views(self.views, self.normalise, keys, micro_batch["image"])
        return self.mix(jax.random.fold_in(key, MIXING), micro_batch["index"], views, targets)

    def _make_targets(self, batch: dict[str, Array], smoothing: float = 0.0) -> Array:
        """Return the target probability of each class or label, (B, classes)."""
        if self.multi_label:
            return batch["labels"] * (1 - smoothing) + smoothing / 2
        return optax.smooth_labels(jax.nn.one_hot(batch["label"], len(self.classes)), smoothing)

    def _cross_entropy(
        self, logits: Array, targets: Array, class_weights: tuple[float, ...] = ()
    ) -> Array:
        """Compute the losses (B,), which with several labels are means over the classes.

        The loss of an example of one class is multiplied by the weight of its class, on average
        over its target probabilities.
        """
        logits = logits.astype(jnp.float32)
        weights = jnp.asarray(class_weights or 1.0, jnp.float32)
        if self.multi_label:
            return (weights * optax.sigmoid_binary_cross_entropy(logits, targets)).mean(axis=-1)
        losses = optax.softmax_cross_entropy(logits, targets)
        return losses * (weights * targets).sum(axis=-1) if class_weights else losses
