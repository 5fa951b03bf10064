"""Masked autoencoder (He et al. 2022, https://arxiv.org/abs/2111.06377): predict hidden patches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ssl_jax.augment import Augmentation, Normalisation
from ssl_jax.metrics import Mean
from ssl_jax.models.layers.patches import patch_grid, patchify, unpatchify
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
class MAE:
    """The objective of reconstructing the hidden patches of a tile from the visible ones.

    Attributes:
        model: Network `(image (B, H, W, C), noise (B, N), mask_ratio, train) -> prediction
            (B, N, p² C), hidden (B, N)`, whose `backbone` has the `patch_size` p. The patches with
            the least noise are visible.
        views: Augmentation of the images.
        normalise: Normalisation of the images.
        mask_ratio: Fraction of the patches to hide.
        norm_pix_loss: Whether the target of each patch is normalised by its own mean and variance.
        accumulate: Number of micro-batches that a device's batch is split into.
    """

    model: nn.Module
    views: Augmentation
    normalise: Normalisation
    mask_ratio: float = 0.75
    norm_pix_loss: bool = True
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_values(self.accumulate)
        if not 0 < self.mask_ratio < 1:
            raise ValueError(
                f"mask_ratio: found {self.mask_ratio}; expected a fraction above 0 and below 1"
            )

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Initialise the variables; only the shape of the images in `batch` matters."""
        view = self._make_evaluation_view(batch["image"][:1])
        noise = self._draw_noise(key, jnp.zeros(1, jnp.int32), view)
        variables = self.model.init(key, view, noise, self.mask_ratio)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Compute the mean of this device's reconstruction errors."""
        view_key, noise_key = jax.random.split(key)

        def forward(batch_stats: Any, micro_batch: dict[str, Array]) -> tuple[Any, Array]:
            keys = make_example_keys(view_key, micro_batch["index"])
            image = make_random_views(self.views, self.normalise, keys, micro_batch["image"])
            (prediction, hidden), batch_stats = apply_in_train_mode(
                self.model,
                {"params": variables["params"], "batch_stats": batch_stats},
                image,
                noise=self._draw_noise(noise_key, micro_batch["index"], image),
                mask_ratio=self.mask_ratio,
                keys=make_example_keys(jax.random.fold_in(key, DROPOUT), micro_batch["index"]),
            )
            return batch_stats, self._reconstruction_error(image, prediction, hidden)

        batch_stats, losses = apply_in_micro_batches(forward, self.accumulate)(
            variables["batch_stats"], {k: batch[k] for k in ("image", "index")}
        )
        aux = {"batch_stats": batch_stats, "accumulators": {"loss": Mean.from_values(losses)}}
        return losses.mean(), aux

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Mean]:
        """Compute the loss on whole tiles with masks that are the same in each evaluation."""
        image = self._make_evaluation_view(batch["image"])
        prediction, hidden = self._reconstruct(variables, image, batch["index"], jax.random.key(0))
        return {
            "loss": Mean.from_values(
                self._reconstruction_error(image, prediction, hidden), batch["valid"]
            )
        }

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """Compute `loss`, the mean squared error over the hidden patches."""
        return {name: float(mean.value) for name, mean in accumulators.items()}

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Compute tiles, masked tiles and reconstructions in unit values, (B, h, w, C) each.

        The reconstruction contains the visible patches unchanged. With `norm_pix_loss` the network
        doesn't predict the mean and variance of a hidden patch; the true ones are used, as the
        authors do in their figures.
        """
        image = self._make_evaluation_view(batch["image"])
        prediction, hidden = self._reconstruct(variables, image, batch["index"], key)
        patches = patchify(image, self._patch_size)
        if self.norm_pix_loss:
            mean, variance = _moments(patches)
            prediction = prediction * jnp.sqrt(variance + 1e-6) + mean
        is_hidden = hidden[..., None] > 0
        masked = jnp.where(is_hidden, 0.0, patches)
        reconstruction = jnp.where(is_hidden, prediction, patches)
        samples = {"image": patches, "masked": masked, "reconstruction": reconstruction}
        return {
            name: jnp.clip(
                self.normalise.restore(
                    unpatchify(x, self._patch_size, patch_grid(image, self._patch_size))
                ),
                0.0,
                1.0,
            )
            for name, x in samples.items()
        }

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Compute representations (B, D) of images (B, H, W, C) in digital numbers."""
        view = self._make_evaluation_view(image)
        return self.model.backbone.apply(submodule_variables(variables, "backbone"), view)

    @property
    def _patch_size(self) -> int:
        return self.model.backbone.patch_size

    def _make_evaluation_view(self, image: Array) -> Array:
        return make_deterministic_view(
            Augmentation.evaluation(self.views.size), self.normalise, image
        )

    def _draw_noise(self, key: Array, index: Array, image: Array) -> Array:
        """Draw uniform noise (B, N), which depends on the index of each example."""
        num_patches = math.prod(patch_grid(image, self._patch_size))
        return jax.vmap(lambda k: jax.random.uniform(k, (num_patches,)))(
            make_example_keys(key, index)
        )

    def _reconstruct(
        self, variables: dict[str, Any], image: Array, index: Array, key: Array
    ) -> tuple[Array, Array]:
        return self.model.apply(
            variables, image, self._draw_noise(key, index, image), self.mask_ratio
        )

    def _reconstruction_error(self, image: Array, prediction: Array, hidden: Array) -> Array:
        """Compute the mean squared error over the hidden patches of each example, (B,)."""
        target = patchify(image, self._patch_size)
        if self.norm_pix_loss:
            mean, variance = _moments(target)
            target = (target - mean) / jnp.sqrt(variance + 1e-6)
        errors = jnp.square(prediction.astype(jnp.float32) - target).mean(axis=-1)
        return (errors * hidden).sum(axis=-1) / hidden.sum(axis=-1)


def _moments(patches: Array) -> tuple[Array, Array]:
    """Compute mean and unbiased variance of each patch, (B, N, 1), as in facebookresearch/mae."""
    return patches.mean(-1, keepdims=True), patches.var(-1, keepdims=True, ddof=1)
