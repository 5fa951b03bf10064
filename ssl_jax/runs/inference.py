"""A checkpoint as a function: `ssl_jax.load(path)(images)`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.objectives import Objective
from ssl_jax.runs import parts

__all__ = ["Model", "load"]


@dataclass(frozen=True)
class Model:
    """A restored network with its card, callable on images in digital numbers.

    Attributes:
        card: the sensor, bands, classes, config and figures it comes with.
        objective: what it was trained for.
        variables: `params` and `batch_stats`, on the host.
    """

    card: ModelCard
    objective: Objective
    variables: dict[str, Any]

    def __call__(self, images: np.ndarray, bands: Sequence[str] = ()) -> np.ndarray:
        """What the network says of images (B, H, W, C).

        Scores (B, classes) for classification, labels (B, H, W) for segmentation, representations
        (B, D) for a pretrained backbone.

        Args:
            images: digital numbers of the sensor on the card.
            bands: names of the images' bands, if they aren't the card's in the card's order.

        Raises:
            UserError: a band is missing, or the images aren't (B, H, W, C).
        """
        return np.asarray(self._predict(self.variables, self._matched(images, bands)))

    @cached_property
    def _predict(self) -> Any:
        return jax.jit(self.objective.predict)

    def _matched(self, images: np.ndarray, bands: Sequence[str]) -> np.ndarray:
        wanted = self.card.sensor
        found = tuple(bands) or wanted.names
        if images.ndim != 4 or images.shape[-1] != len(found):
            raise UserError(
                f"images: found shape {images.shape}; expected (batch, height, width, "
                f"{len(found)}) with the bands {', '.join(found)}"
            )
        order = []
        for band in wanted.bands:
            place = next((i for i, name in enumerate(found) if band.answers_to(name)), None)
            if place is None:
                raise UserError(
                    f"images: have the bands {', '.join(found)}, not {band.name}; the checkpoint "
                    f"needs {', '.join(wanted.names)}"
                )
            order.append(place)
        return images[..., order]


def load(path: str | Path) -> Model:
    """The model of a run's workdir, or of one of its `checkpoints/<step>` folders.

    Needs neither the dataset nor the devices it was trained on.

    Raises:
        UserError: there is no checkpoint, or its card isn't that of its arrays.
    """
    card = read_card(path)
    # Computed in float32 whatever it was trained in: any device can.
    config = card.config.copy_and_resolve_references()
    config.precision = "float32"
    objective = check_network(path, replace(card, config=config), parts.make_objective)
    return Model(card, objective, loading.load_variables(Path(path)))
