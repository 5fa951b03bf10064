"""SimCLR (Chen et al. 2020, https://arxiv.org/abs/2002.05709): two views find each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array

from ssl_jax.augment import Augmentation, Normalisation
from ssl_jax.metrics import Mean
from ssl_jax.objectives.micro_batches import apply_in_micro_batches
from ssl_jax.objectives.shared import (
    DROPOUT,
    apply_in_train_mode,
    make_deterministic_view,
    make_example_keys,
    make_random_views,
    submodule_variables,
)


@dataclass(frozen=True)
class SimCLR:
    """Contrast the views of each example with those of all others, on all devices.

    model: `(image (B, H, W, C), train) -> projection (B, D)`.
    accumulate: micro-batches a device's batch is cut into; all examples stay negatives.
    """

    model: nn.Module
    views: Augmentation
    normalise: Normalisation
    temperature: float = 0.1
    accumulate: int = 1

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh variables; of `batch` only the shape of its images matters."""
        variables = self.model.init(key, self._views(jax.tree.map(lambda x: x[:1], batch), key))
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """NT-Xent of this device's examples: the mean over them of the sum over both views."""

        def forward(batch_stats: Any, part: dict[str, Array]) -> tuple[Any, Array]:
            current = {"params": variables["params"], "batch_stats": batch_stats}
            keys = self._both(jax.random.fold_in(key, DROPOUT), part)
            projections, batch_stats = apply_in_train_mode(
                self.model, current, self._views(part, key), keys=keys
            )
            return batch_stats, _pairs(projections)

        batch_stats, projections = apply_in_micro_batches(forward, self.accumulate)(
            variables["batch_stats"], {k: batch[k] for k in ("image", "index")}
        )
        losses, accumulators = self._contrast(projections, jnp.ones(len(projections), bool))
        return losses.sum(axis=1).mean(), {"batch_stats": batch_stats, "accumulators": accumulators}

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Mean]:
        """The loss in evaluation mode on views that are the same each time.

        It depends on which examples share a batch, as contrastive losses do.
        """
        projections = self.model.apply(variables, self._views(batch, jax.random.key(0)))
        return self._contrast(_pairs(projections), batch["valid"])[1]

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """`loss`, `contrastive_top1`, and `projection_std`: 1 if spread evenly, 0 if collapsed."""
        return {name: float(mean.value) for name, mean in accumulators.items()}

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """The tiles and their two views in unit values, (B, h, w, C) each."""
        first, second = jnp.split(self.normalise.restore(self._views(batch, key)), 2)
        return {"image": self.normalise.unit(batch["image"]), "view_1": first, "view_2": second}

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Representations (B, D) of images (B, H, W, C) in digital numbers."""
        view = make_deterministic_view(
            Augmentation.evaluation(self.views.size), self.normalise, image
        )
        return self.model.backbone.apply(submodule_variables(variables, "backbone"), view)

    def _views(self, batch: dict[str, Array], key: Array) -> Array:
        """Both views of all examples as one batch (2 B, h, w, C): batch norm sees both."""
        twice = jnp.concatenate([batch["image"], batch["image"]])
        return make_random_views(self.views, self.normalise, self._both(key, batch), twice)

    @staticmethod
    def _both(key: Array, batch: dict[str, Array]) -> Array:
        """A key for each view (2 B,): those of all first views, then of all second ones."""
        return jax.vmap(jax.random.split, out_axes=1)(
            make_example_keys(key, batch["index"])
        ).reshape(-1)

    def _contrast(self, projections: Array, valid: Array) -> tuple[Array, dict[str, Mean]]:
        losses, hits, std = nt_xent(projections, self.temperature, valid)
        both = jnp.broadcast_to(valid[:, None], hits.shape)
        accumulators = {
            "loss": Mean.from_values(losses.sum(axis=1), valid),
            "contrastive_top1": Mean.from_values(hits, both),
            "projection_std": Mean.from_values(std),
        }
        return losses, accumulators


def nt_xent(
    projections: Array, temperature: float, valid: Array, axis: str = "data"
) -> tuple[Array, Array, Array]:
    """Normalised temperature-scaled cross-entropy, with the examples of all devices as negatives.

        l(i, j) = -log( exp(z_i·z_j / τ) / Σ_{k≠i} exp(z_i·z_k / τ) ),  i and j views of one example

    `projections` (B, 2, D) and `valid` (B,) are one device's; the gradient flows through the
    gather, so each device also learns from the anchors of the others. Returns the losses (B, 2),
    whether the partner is the nearest (B, 2), and the standard deviation of the directions over the
    whole batch, relative to that of directions spread evenly over the sphere.
    """
    z = projections.astype(jnp.float32)
    z = z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z * z, axis=-1, keepdims=True), 1e-12))
    anchors = rearrange(z, "b view d -> (b view) d")
    others = jax.lax.all_gather(anchors, axis, tiled=True)
    counted = jax.lax.all_gather(jnp.repeat(valid, 2), axis, tiled=True)

    itself = jax.lax.axis_index(axis) * len(anchors) + jnp.arange(len(anchors))
    partner = itself ^ 1  # the views of an example are neighbours
    logits = jnp.matmul(anchors, others.T, precision="highest") / temperature
    is_itself = itself[:, None] == jnp.arange(len(others))[None, :]
    logits = jnp.where(is_itself | ~counted, -jnp.inf, logits)

    positive = jnp.take_along_axis(logits, partner[:, None], axis=1)[:, 0]
    losses = jax.nn.logsumexp(logits, axis=1) - positive
    hits = jnp.argmax(logits, axis=1) == partner
    std = jnp.std(others, axis=0, where=counted[:, None]).mean() * z.shape[-1] ** 0.5
    return losses.reshape(-1, 2), hits.reshape(-1, 2), std


def _pairs(projections: Array) -> Array:
    return rearrange(projections, "(view b) d -> b view d", view=2)
