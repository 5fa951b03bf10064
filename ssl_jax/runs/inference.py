"""A checkpoint as a function of images: `ssl_jax.load(path)(images)`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.bands.conversion import Conversion
from data_pipelines.errors import UserError
from data_pipelines.profiles.findings import Remedies, check_accepted, settle
from data_pipelines.profiles.observation import observe
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.canary import compare_canary
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.inputs import compare_with_card
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.objectives import Objective
from ssl_jax.runs import parts

__all__ = ["Model", "load", "warn_of_other_answers"]

_REMEDIES = Remedies("scale={}", "offset={}", "bands={}", "ssl_jax.load(…, accept={!r})")


@dataclass(frozen=True)
class Model:
    """A restored network with its model card, callable on images in digital numbers.

    Attributes:
        card: The sensor, bands, classes, config and metrics of the checkpoint.
        objective: The objective that it was trained for.
        variables: `params` and `batch_stats`, on the device.
        accept: Names of the checks of images that are passed over.
    """

    card: ModelCard
    objective: Objective
    variables: dict[str, Any]
    accept: tuple[str, ...] = ()

    def __call__(
        self,
        images: np.ndarray,
        bands: Sequence[str] = (),
        batch_size: int = 0,
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> np.ndarray:
        """Apply the network to images.

        Args:
            images: (B, H, W, C) in digital numbers of the sensor on the card.
            bands: Names of the images' C bands; by default the card's, in the card's order. Bands
                that the network does not use are ignored.
            batch_size: Number of images that are processed at a time, which limits the memory; 0
                for all of them.
            scale: What one digital number is in the images' values, such as 1e-4 for reflectances.
            offset: Added to the images' values before, such as -1000.

        Returns:
            Scores (B, classes) for classification, labels (B, H, W) for segmentation,
            representations (B, D) for a pretrained backbone.

        Raises:
            UserError: If a band is missing, `images` isn't (B, H, W, C), or its values are not like
                those that the network learned.
        """
        images = self._select_bands(np.asarray(images), bands)
        images = Conversion(scale, offset)(images)
        self._check(images)
        batch_size = min(batch_size or len(images), len(images)) or 1
        predictions = []
        for start in range(0, len(images) or 1, batch_size):
            batch = images[start : start + batch_size]
            # Padded to one shape, so that it is compiled once.
            padded = np.pad(batch, ((0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)))
            output = self._predict(self.variables, jax.device_put(padded))
            predictions.append(np.asarray(output)[: len(batch)])
        return np.concatenate(predictions)

    def _check(self, images: np.ndarray) -> None:
        """Compare images with the learned ones, and warn once of each difference."""
        if not images.size:
            return
        findings = compare_with_card(observe(images), self.card, _REMEDIES)
        if not findings:
            return
        to_tell, _ = settle(findings, "images", _REMEDIES, self.accept)
        for finding in to_tell:
            if finding.check not in self._told:
                print(f"warning: {finding.message}", file=sys.stderr)
                self._told.add(finding.check)

    @cached_property
    def _told(self) -> set[str]:
        """The checks whose warnings have been printed."""
        return set()

    @cached_property
    def _predict(self) -> Any:
        return jax.jit(self.objective.predict)

    def _select_bands(self, images: np.ndarray, bands: Sequence[str]) -> np.ndarray:
        """Return the bands of the card's sensor, in its order."""
        sensor = self.card.sensor
        names = tuple(bands) or sensor.names
        if images.ndim != 4 or images.shape[-1] != len(names):
            raise UserError(
                f"images: found shape {images.shape}; expected (batch, height, width, "
                f"{len(names)}) with the bands {', '.join(names)}"
            )
        channels = []
        for band in sensor.bands:
            channel = next((i for i, name in enumerate(names) if band.has_name(name)), None)
            if channel is None:
                raise UserError(
                    f"images: found the bands {', '.join(names)}, not {band.name}; the checkpoint "
                    f"needs {', '.join(sensor.names)}"
                )
            channels.append(channel)
        return images[..., channels]


def load(path: str | Path, accept: Sequence[str] = (), verify: bool = False) -> Model:
    """Load the model of a run's workdir, or of one of its `checkpoints/<step>` folders.

    Neither the dataset nor the devices it was trained on are needed.

    Args:
        path: The workdir or checkpoint.
        accept: Names of checks of images to pass over, as the messages give them.
        verify: Whether to compute the answers of the checkpoint's canary again, and to warn if this
            machine answers otherwise.

    Raises:
        UserError: If there is no checkpoint, or its card doesn't match its arrays.
    """
    card = read_card(path)
    # In float32 whatever it was trained in: every device supports it.
    config = card.config.copy_and_resolve_references()
    config.precision = "float32"
    objective = check_network(path, replace(card, config=config), parts.make_objective)
    variables = jax.device_put(loading.load_variables(Path(path)))
    if verify and not card.canary:
        print(f"warning: {path}: has no canary, so that nothing is verified", file=sys.stderr)
    elif verify:
        warn_of_other_answers(path, card, objective, variables)
    return Model(card, objective, variables, check_accepted(accept, "accept"))


def warn_of_other_answers(
    path: str | Path, card: ModelCard, objective: Objective, variables: dict[str, Any]
) -> None:
    """Compute the canary of a checkpoint again, and warn if this machine answers otherwise.

    Args:
        path: The checkpoint, for the message.
        card: Its card.
        objective: Its objective.
        variables: Its variables.
    """
    if difference := compare_canary(card, objective, variables):
        print(
            f"warning: {path}: this machine answers otherwise than the one that trained it: "
            f"{difference}; check the device, its driver and the versions on the card",
            file=sys.stderr,
        )
