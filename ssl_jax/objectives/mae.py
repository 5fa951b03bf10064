"""Masked autoencoder (He et al. 2022, https://arxiv.org/abs/2111.06377): fill in hidden patches."""

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
from ssl_jax.models.patches import patch_grid, patchify, unpatchify
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
class MAE:
    """Reconstruct the hidden patches of a tile from the visible ones.

    model: `(image (B, H, W, C), noise (B, N), mask_ratio, train) -> prediction (B, N, p² C),
        hidden (B, N)`, with `patch_size` p on its `backbone`. Patches of least noise are visible.
    norm_pix_loss: each patch is to be predicted with its own mean and variance taken out.
    """

    model: nn.Module
    views: Augmentation
    normalise: Normalisation
    mask_ratio: float = 0.75
    norm_pix_loss: bool = True
    accumulate: int = 1

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh variables; of `batch` only the shape of its images matters."""
        view = self._evaluation_view(batch["image"][:1])
        noise = self._noise(key, jnp.zeros(1, jnp.int32), view)
        variables = self.model.init(key, view, noise, self.mask_ratio)
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Mean of this device's reconstruction errors."""
        view_key, noise_key = jax.random.split(key)

        def forward(batch_stats: Any, part: dict[str, Array]) -> tuple[Any, Array]:
            keys = make_example_keys(view_key, part["index"])
            image = make_random_views(self.views, self.normalise, keys, part["image"])
            (prediction, hidden), batch_stats = apply_in_train_mode(
                self.model,
                {"params": variables["params"], "batch_stats": batch_stats},
                image,
                noise=self._noise(noise_key, part["index"], image),
                mask_ratio=self.mask_ratio,
                keys=make_example_keys(jax.random.fold_in(key, DROPOUT), part["index"]),
            )
            return batch_stats, self._error(image, prediction, hidden)

        batch_stats, losses = apply_in_micro_batches(forward, self.accumulate)(
            variables["batch_stats"], {k: batch[k] for k in ("image", "index")}
        )
        aux = {"batch_stats": batch_stats, "accumulators": {"loss": Mean.from_values(losses)}}
        return losses.mean(), aux

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Mean]:
        """The loss on whole tiles with masks that are the same each time."""
        image = self._evaluation_view(batch["image"])
        prediction, hidden = self._reconstruct(variables, image, batch["index"], jax.random.key(0))
        return {"loss": Mean.from_values(self._error(image, prediction, hidden), batch["valid"])}

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """`loss`: mean squared error over the hidden patches."""
        return {name: float(mean.value) for name, mean in accumulators.items()}

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Tiles, masked tiles and reconstructions in unit values (B, h, w, C).

        The reconstruction shows the visible patches as they are. With `norm_pix_loss` the network
        doesn't predict mean and variance of a hidden patch: the true ones are put back, as the
        authors do in their figures.
        """
        image = self._evaluation_view(batch["image"])
        prediction, hidden = self._reconstruct(variables, image, batch["index"], key)
        patches = patchify(image, self._patch_size)
        if self.norm_pix_loss:
            mean, variance = _moments(patches)
            prediction = prediction * jnp.sqrt(variance + 1e-6) + mean
        shown = hidden[..., None] > 0
        masked = jnp.where(shown, 0.0, patches)
        filled = jnp.where(shown, prediction, patches)
        pictures = {"image": patches, "masked": masked, "reconstruction": filled}
        return {
            name: jnp.clip(
                self.normalise.restore(
                    unpatchify(x, self._patch_size, patch_grid(image, self._patch_size))
                ),
                0.0,
                1.0,
            )
            for name, x in pictures.items()
        }

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Representations (B, D) of images (B, H, W, C) in digital numbers."""
        view = self._evaluation_view(image)
        return self.model.backbone.apply(submodule_variables(variables, "backbone"), view)

    @property
    def _patch_size(self) -> int:
        return self.model.backbone.patch_size

    def _evaluation_view(self, image: Array) -> Array:
        return make_deterministic_view(
            Augmentation.evaluation(self.views.size), self.normalise, image
        )

    def _noise(self, key: Array, index: Array, image: Array) -> Array:
        """Uniform noise (B, N), each example's from its own index."""
        patches = math.prod(patch_grid(image, self._patch_size))
        return jax.vmap(lambda k: jax.random.uniform(k, (patches,)))(make_example_keys(key, index))

    def _reconstruct(
        self, variables: dict[str, Any], image: Array, index: Array, key: Array
    ) -> tuple[Array, Array]:
        return self.model.apply(variables, image, self._noise(key, index, image), self.mask_ratio)

    def _error(self, image: Array, prediction: Array, hidden: Array) -> Array:
        """Mean squared error over the hidden patches of each example, (B,)."""
        target = patchify(image, self._patch_size)
        if self.norm_pix_loss:
            mean, variance = _moments(target)
            target = (target - mean) / jnp.sqrt(variance + 1e-6)
        errors = jnp.square(prediction.astype(jnp.float32) - target).mean(axis=-1)
        return (errors * hidden).sum(axis=-1) / hidden.sum(axis=-1)


def _moments(patches: Array) -> tuple[Array, Array]:
    """Mean and unbiased variance over all values of each patch, as the reference has it."""
    return patches.mean(-1, keepdims=True), patches.var(-1, keepdims=True, ddof=1)
