"""A backbone and nothing else, as others' weights come: it represents and learns nothing."""

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
    """What a backbone makes of images; to learn with it, name its checkpoint as `pretrained`.

    backbone: `(image (B, H, W, C), train) -> (B, D)`.
    """

    backbone: nn.Module
    normalise: Normalisation
    views: Augmentation

    def init(self, key: Array, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Fresh variables under `backbone`; of `batch` only the shapes matter."""
        view = make_deterministic_view(self.views, self.normalise, batch["image"][:1])
        variables = self.backbone.init(key, view)
        return {
            collection: {"backbone": variables[collection]} if collection in variables else {}
            for collection in ("params", "batch_stats")
        }

    def predict(self, variables: dict[str, Any], image: Array) -> Array:
        """Representations (B, D) of images (B, H, W, C) in digital numbers."""
        view = make_deterministic_view(self.views, self.normalise, image)
        return self.backbone.apply(submodule_variables(variables, "backbone"), view)

    def make_samples(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> dict[str, Array]:
        """The images in unit values (B, H, W, C)."""
        return {"image": self.normalise.unit(batch["image"])}

    def loss(
        self, variables: dict[str, Any], batch: dict[str, Array], key: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Refuses: there is none."""
        raise UserError(_NOTHING)

    def evaluate(self, variables: dict[str, Any], batch: dict[str, Array]) -> dict[str, Any]:
        """Refuses: there is nothing to compare with a target."""
        raise UserError(_NOTHING)

    def compute_metrics(self, accumulators: Mapping[str, Any]) -> dict[str, float]:
        """None."""
        return {}


_NOTHING = (
    "config.objective.name: representation is a backbone without a head, which has neither a loss "
    "nor figures; expected simclr, mae, classification or segmentation, with the backbone's "
    "checkpoint as config.pretrained"
)
