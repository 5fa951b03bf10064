"""SimCLR (Chen et al. 2020, https://arxiv.org/abs/2002.05709): contrastive learning."""

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
    check_values,
    make_deterministic_view,
    make_example_keys,
    make_random_views,
    submodule_variables,
)


@dataclass(frozen=True)
class SimCLR:
    """The contrastive objective of two views of each example against all others, on all devices.

    Attributes:
        model: Network `(image (B, H, W, C), train) -> projection (B, D)`, with a `backbone`.
        views: Augmentation of the two views.
        normalise: Normalisation of the images.
        temperature: Temperature τ of the loss.
        accumulate: Number of micro-batches that a device's batch is split into; all examples of the
            batch remain negatives.
    """

    model: nn.Module
    views: Augmentation
    normalise: Normalisation
    temperature: float = 0.1
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_values(self.accumulate)
        if not self.temperature > 0:
            raise ValueError(f"temperature: found {self.temperature}; expected a positive number")

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Initialise the variables; only the shape of the images in `batch` matters."""
        view = self._make_views(jax.tree.map(lambda x: x[:1], batch), key)
        variables = self.model.init(key, view)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Compute NT-Xent: the mean over this device's examples of the sum over both views."""

        def forward(batch_stats: Any, micro_batch: dict[str, Array]) -> tuple[Any, Array]:
            current = {"params": variables["params"], "batch_stats": batch_stats}
            keys = self._make_view_keys(jax.random.fold_in(key, DROPOUT), micro_batch)
            projections, batch_stats = apply_in_train_mode(
                self.model, current, self._make_views(micro_batch, key), keys=keys
            )
            return batch_stats, _pair_views(projections)

        batch_stats, projections = apply_in_micro_batches(forward, self.accumulate)(
            variables["batch_stats"], {k: batch[k] for k in ("image", "index")}
        )
        losses, accumulators = self._contrast(projections, jnp.ones(len(projections), bool))
        return losses.sum(axis=1).mean(), {"batch_stats": batch_stats, "accumulators": accumulators}

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Mean]:
        """Compute the loss in evaluation mode on views that are the same in each evaluation.

        As with any contrastive loss, the result depends on which examples are in the same batch.
        """
        projections = self.model.apply(variables, self._make_views(batch, jax.random.key(0)))
        return self._contrast(_pair_views(projections), batch["valid"])[1]

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """Compute `loss`, `contrastive_top1` and `projection_std`.

        The latter is 1 if projections are uniformly distributed over the sphere and 0 if collapsed.
        """
        return {name: float(mean.value) for name, mean in accumulators.items()}

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Return the tiles and their two views in unit values, (B, h, w, C) each."""
        first, second = jnp.split(self.normalise.restore(self._make_views(batch, key)), 2)
        return {"image": self.normalise.unit(batch["image"]), "view_1": first, "view_2": second}

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Compute representations (B, D) of images (B, H, W, C) in digital numbers."""
        view = make_deterministic_view(
            Augmentation.evaluation(self.views.size), self.normalise, image
        )
        return self.model.backbone.apply(submodule_variables(variables, "backbone"), view)

    def _make_views(self, batch: dict[str, Array], key: Array) -> Array:
        """Draw both views of all examples as one batch (2 B, h, w, C), for batch norm."""
        twice = jnp.concatenate([batch["image"], batch["image"]])
        return make_random_views(
            self.views, self.normalise, self._make_view_keys(key, batch), twice
        )

    @staticmethod
    def _make_view_keys(key: Array, batch: dict[str, Array]) -> Array:
        """Derive the keys (2 B,) of all first views, followed by those of all second views."""
        return jax.vmap(jax.random.split, out_axes=1)(
            make_example_keys(key, batch["index"])
        ).reshape(-1)

    def _contrast(self, projections: Array, valid: Array) -> tuple[Array, dict[str, Mean]]:
        losses, correct, std = nt_xent(projections, self.temperature, valid)
        both_valid = jnp.broadcast_to(valid[:, None], correct.shape)
        accumulators = {
            "loss": Mean.from_values(losses.sum(axis=1), valid),
            "contrastive_top1": Mean.from_values(correct, both_valid),
            "projection_std": Mean.from_values(std),
        }
        return losses, accumulators


def nt_xent(
    projections: Array, temperature: float, valid: Array, axis: str = "data"
) -> tuple[Array, Array, Array]:
    """Compute the normalised temperature-scaled cross-entropy with negatives of all devices.

        l(i, j) = -log( exp(z_i·z_j / τ) / Σ_{k≠i} exp(z_i·z_k / τ) ),  i and j views of one example

    The gradient flows through the gather, so that each device also learns from the anchors of the
    others.

    Args:
        projections: Projections of both views of one device's examples, (B, 2, D).
        temperature: Temperature τ.
        valid: Whether an example is not padding, (B,) bool; padding is no negative.
        axis: Name of the mesh axis.

    Returns:
        The losses (B, 2); whether the other view is the nearest neighbour, (B, 2) bool; and the
        standard deviation of the projections' directions over the whole batch, relative to that of
        directions uniformly distributed over the sphere.
    """
    z = projections.astype(jnp.float32)
    z = z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z * z, axis=-1, keepdims=True), 1e-12))
    anchors = rearrange(z, "b view d -> (b view) d")
    candidates = jax.lax.all_gather(anchors, axis, tiled=True)
    candidate_valid = jax.lax.all_gather(jnp.repeat(valid, 2), axis, tiled=True)

    own_index = jax.lax.axis_index(axis) * len(anchors) + jnp.arange(len(anchors))
    partner = own_index ^ 1  # the views of an example are neighbours
    logits = jnp.matmul(anchors, candidates.T, precision="highest") / temperature
    is_self = own_index[:, None] == jnp.arange(len(candidates))[None, :]
    logits = jnp.where(is_self | ~candidate_valid, -jnp.inf, logits)

    positive = jnp.take_along_axis(logits, partner[:, None], axis=1)[:, 0]
    losses = jax.nn.logsumexp(logits, axis=1) - positive
    correct = jnp.argmax(logits, axis=1) == partner
    std = jnp.std(candidates, axis=0, where=candidate_valid[:, None]).mean() * z.shape[-1] ** 0.5
    return losses.reshape(-1, 2), correct.reshape(-1, 2), std


def _pair_views(projections: Array) -> Array:
    """Rearrange (2 B, D) to (B, 2, D)."""
    return rearrange(projections, "(view b) d -> b view d", view=2)
