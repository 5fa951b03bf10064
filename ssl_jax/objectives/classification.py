"""Classification of scenes, with the backbone frozen or fine-tuned, one label or several."""

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
    make_deterministic_view,
    make_example_keys,
    make_random_views,
    submodule_variables,
)

_IDENTITY, _NO_MIX = Augmentation(), Mix()


@dataclass(frozen=True)
class Classification:
    """A head on a backbone.

    backbone, head: `(image (B, H, W, C), train) -> (B, D)`, `((B, D), train) -> (B, classes)`.
    frozen: the backbone runs in evaluation mode and gets no gradient. A batch may then hold its
        `features` (B, D), computed once, in place of `image`: the backbone is skipped, and `init`
        makes variables for the head alone.
    multi_label: `labels` (B, classes) of zeros and ones and a sigmoid for each, in place of one
        `label` (B,) and a softmax.
    label_smoothing: share of the targets that is spread evenly: over the classes or, with several
        labels, over yes and no.
    mix: how neighbouring examples and their targets are mixed.
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
    mix: Mix = _NO_MIX
    accumulate: int = 1

    @property
    def precomputable(self) -> bool:
        """Whether an example's features are the same at every step."""
        alike = self.views == self.evaluation_views and self.views.deterministic
        return self.frozen and alike and self.mix.group_size == 1

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh variables under `backbone` and `head`; of `batch` only the shapes matter."""
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
        """Mean cross-entropy of this device's examples; `top1` counts the largest target."""

        def forward(batch_stats: Any, part: dict[str, Array]) -> tuple[Any, tuple[Array, Array]]:
            current = {"params": variables["params"], "batch_stats": batch_stats}
            backbone_keys, head_keys = jax.vmap(jax.random.split, out_axes=1)(
                make_example_keys(jax.random.fold_in(key, DROPOUT), part["index"])
            )
            backbone, head = (
                submodule_variables(current, "backbone"),
                submodule_variables(current, "head"),
            )
            inputs, targets = self._examples(part, key)
            if self.frozen or "features" in part:
                if "features" not in part:
                    inputs = self.backbone.apply(backbone, inputs)
                features, new = jax.lax.stop_gradient(inputs), backbone.get("batch_stats", {})
            else:
                features, new = apply_in_train_mode(
                    self.backbone, backbone, inputs, keys=backbone_keys
                )
            logits, new_of_head = apply_in_train_mode(self.head, head, features, keys=head_keys)
            changed = {"backbone": new, "head": new_of_head}
            return {name: changed[name] for name in batch_stats}, (logits, targets)

        used = ("features" if "features" in batch else "image", "index", self._target)
        batch_stats, (logits, targets) = apply_in_micro_batches(
            forward, self.accumulate, self.mix.group_size
        )(variables["batch_stats"], {name: batch[name] for name in used})
        losses = self._cross_entropy(logits, targets)
        accumulators = {"loss": Mean.from_values(losses)}
        if not self.multi_label:
            accumulators["top1"] = Mean.from_values(
                logits.argmax(axis=-1) == targets.argmax(axis=-1)
            )
        return losses.mean(), {"batch_stats": batch_stats, "accumulators": accumulators}

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """`loss`, the `predictions` of each example and, for one label, `top1` and `confusion`."""
        logits = self._logits(variables, batch)
        valid = batch["valid"]
        losses = self._cross_entropy(logits, self._targets(batch))
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
        """`loss`, `top1`, and over a whole set `f1` and `kappa`, or `mAP` for several labels."""
        figures = {
            n: float(mean.value) for n, mean in accumulators.items() if isinstance(mean, Mean)
        }
        if "confusion" in accumulators:
            figures["f1"] = metrics.f1(accumulators["confusion"])
            figures["kappa"] = metrics.kappa(accumulators["confusion"])
        if "predictions" in accumulators and self.multi_label:
            figures["mAP"] = metrics.mean_average_precision(accumulators["predictions"])
        return figures

    def extract_features(self, variables: dict[str, Any], batch: dict[str, Array]) -> Array:
        """What the backbone makes of the images in evaluation mode, (B, D) float32."""
        view = make_deterministic_view(self.evaluation_views, self.normalise, batch["image"])
        return self.backbone.apply(submodule_variables(variables, "backbone"), view).astype(
            jnp.float32
        )

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Probabilities (B, classes) of images (B, H, W, C) in digital numbers."""
        logits = self._logits(variables, {"image": image})
        return jax.nn.sigmoid(logits) if self.multi_label else jax.nn.softmax(logits)

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Images in unit values with their labels and predicted scores (B, classes)."""
        scores = self.predict(variables, batch["image"])
        image = self.normalise.unit(batch["image"])
        return {"image": image, self._target: batch[self._target], "scores": scores}

    def _logits(self, variables: dict[str, Any], batch: dict[str, Array]) -> Array:
        features = (
            batch["features"] if "features" in batch else self.extract_features(variables, batch)
        )
        return self.head.apply(submodule_variables(variables, "head"), features).astype(jnp.float32)

    @property
    def _target(self) -> str:
        return "labels" if self.multi_label else "label"

    def _examples(self, part: dict[str, Array], key: Array) -> tuple[Array, Array]:
        """What is trained on: features or views (B, h, w, C), and targets (B, classes)."""
        targets = self._targets(part, self.label_smoothing)
        if "features" in part:
            return part["features"], targets
        keys = make_example_keys(key, part["index"])
        views = make_random_views(self.views, self.normalise, keys, part["image"])
        return self.mix(jax.random.fold_in(key, MIXING), part["index"], views, targets)

    def _targets(self, batch: dict[str, Array], smoothing: float = 0.0) -> Array:
        """Shares (B, classes) of the classes, or of each of several labels."""
        if self.multi_label:
            return batch["labels"] * (1 - smoothing) + smoothing / 2
        return optax.smooth_labels(jax.nn.one_hot(batch["label"], len(self.classes)), smoothing)

    def _cross_entropy(self, logits: Array, targets: Array) -> Array:
        """Losses (B,); with several labels their mean over the classes."""
        logits = logits.astype(jnp.float32)
        if self.multi_label:
            return optax.sigmoid_binary_cross_entropy(logits, targets).mean(axis=-1)
        return optax.softmax_cross_entropy(logits, targets)
