"""The objective of a backbone without a head, such as imported weights; it can't be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
from jax import Array

from data_pipelines.errors import UserError
from ssl_jax.augment import Augmentation, Normalisation
from ssl_jax.objectives.shared import make_deterministic_view, submodule_variables


@dataclass(frozen=True)
class Representation:
    """Representations of images by a backbone.

    To train with the backbone, specify its checkpoint as `pretrained`.

    Attributes:
        backbone: Network `(image (B, H, W, C), train) -> (B, D)`.
        normalise: Normalisation of the images.
        views: Augmentation, which is applied with a constant key.
    """

    backbone: nn.Module
    normalise: Normalisation
    views: Augmentation

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Initialise variables under `backbone`; only the shapes of `batch` matter."""
        view = make_deterministic_view(self.views, self.normalise, batch["image"][:1])
        variables = self.backbone.init(key, view)
        return {
            collection: {"backbone": variables[collection]} if collection in variables else {}
            for collection in ("params", "batch_stats")
        }

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Compute representations (B, D) of images (B, H, W, C) in digital numbers."""
        view = make_deterministic_view(self.views, self.normalise, image)
        return self.backbone.apply(submodule_variables(variables, "backbone"), view)

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """Return the images in unit values, (B, H, W, C)."""
        return {"image": self.normalise.unit(batch["image"])}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Raise an error, since there is no loss.

        Raises:
            UserError: Always.
        """
        raise UserError(_NO_HEAD)

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """Raise an error, since there is no prediction to compare with a target.

        Raises:
            UserError: Always.
        """
        raise UserError(_NO_HEAD)

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """Return no metrics."""
        return {}


_NO_HEAD = (
    "config.objective.name: found representation, a backbone without a head, which has neither a "
    "loss nor metrics; expected simclr, mae, classification or segmentation, with the backbone's "
    "checkpoint as config.pretrained"
)
