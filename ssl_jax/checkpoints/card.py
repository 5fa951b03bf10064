"""The model card: everything needed to use a checkpoint, stored in it as JSON."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.profiles.measurement import make_published_profile
from data_pipelines.profiles.profile import DataProfile
from data_pipelines.sources.dataset import Dataset
from ssl_jax.checkpoints.card_checks import check_card, format_value

__all__ = ["ModelCard", "package_versions"]

_FORMAT = 1


@dataclass(frozen=True)
class ModelCard:
    """The model card of a checkpoint: the images it was trained on, its config and its metrics.

    Attributes:
        sensor: The bands of an image in their order, with scale and statistics.
        image_shape: (height, width, bands) of the images it was trained on.
        image_dtype: `uint8` or `uint16`.
        target: `none`, `label`, `labels` or `mask`.
        classes: Names of the classes, in the order of the labels.
        colours: Red, green and blue of each class, 0 to 255; empty if the dataset has none.
        ignore_label: The value of unlabelled pixels in masks.
        config: The whole config of the run.
        profile: What the training images are like; None on cards of earlier versions.
        canary: The network's answers to a few synthetic images, as `canary.make_canary` computes
            them; empty on cards of earlier versions.
        step: Number of training steps taken.
        metrics: The metrics of the last evaluation; empty before the first.
    """

    sensor: Sensor
    image_shape: tuple[int, int, int]
    image_dtype: str
    target: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    ignore_label: int
    config: ConfigDict
    profile: DataProfile | None = None
    canary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    step: int = 0
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def for_run(
        cls, config: ConfigDict, dataset: Dataset, profile: DataProfile | None = None
    ) -> "ModelCard":
        """Create the card of a run before its first step."""
        return cls(
            sensor=dataset.sensor,
            image_shape=dataset.image_shape,
            image_dtype=str(dataset.image_dtype),
            target=dataset.target,
            classes=dataset.classes,
            colours=dataset.colours,
            ignore_label=dataset.ignore_label,
            config=config,
            profile=profile,
        )

    def batch_shapes(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes and dtypes of a batch of `size` examples from the loader."""
        targets: dict[str, dict[str, tuple[tuple[int, ...], Any]]] = {
            "none": {},
            "label": {"label": ((), jnp.int32)},
            "labels": {"labels": ((len(self.classes),), jnp.uint8)},
            "mask": {"mask": (self.image_shape[:2], jnp.uint8)},
        }
        leaves: dict[str, tuple[tuple[int, ...], Any]] = {
            "image": (self.image_shape, self.image_dtype),
            "index": ((), jnp.int32),
            **targets[self.target],
        }
        return {
            name: jax.ShapeDtypeStruct((size, *shape), dtype)
            for name, (shape, dtype) in leaves.items()
        }

    @cached_property
    def expected_images(self) -> DataProfile | None:
        """What images to expect: the profile, or else the statistics of the sensor."""
        if self.profile is not None:
            return self.profile.select(self.sensor.names)
        height, width, _ = self.image_shape
        return make_published_profile(self.sensor, (height, width), self.image_dtype)

    def at_step(
        self, step: int, metrics: Mapping[str, float], canary: Mapping[str, Any]
    ) -> "ModelCard":
        """Return the card of a checkpoint saved at `step`."""
        return dataclasses.replace(self, step=step, metrics=dict(metrics), canary=canary)

    def to_dict(self) -> dict[str, Any]:
        """Convert the card to JSON types."""
        return {
            "format": _FORMAT,
            "sensor": self.sensor.to_dict(),
            "image_shape": list(self.image_shape),
            "image_dtype": self.image_dtype,
            "target": self.target,
            "classes": list(self.classes),
            "colours": [list(colour) for colour in self.colours],
            "ignore_label": self.ignore_label,
            "config": self.config.to_dict(),
            "profile": None if self.profile is None else self.profile.to_dict(),
            "canary": dict(self.canary),
            "step": self.step,
            "metrics": dict(self.metrics),
            "versions": package_versions(),
        }

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> "ModelCard":
        """Parse and check a card that `to_dict` wrote.

        Raises:
            UserError: If it has another format, a field is missing, or a value is invalid.
        """
        if not isinstance(card, Mapping):
            raise UserError(f"model card: found {format_value(card)}; expected a JSON object")
        if card.get("format") != _FORMAT:
            raise UserError(
                f"model card: found format {card.get('format')!r}, expected {_FORMAT}; "
                "the checkpoint was written by another version of ssl_jax"
            )
        check_card(card)
        profile = card.get("profile")
        return cls(
            sensor=Sensor.from_dict(card["sensor"]),
            image_shape=tuple(card["image_shape"]),
            image_dtype=card["image_dtype"],
            target=card["target"],
            classes=tuple(card["classes"]),
            colours=tuple(tuple(colour) for colour in card["colours"]),
            ignore_label=card["ignore_label"],
            config=config_from_json(card["config"]),
            profile=None if profile is None else DataProfile.from_dict(profile),
            canary=card.get("canary") or {},
            step=card["step"],
            metrics=card["metrics"],
        )


def config_from_json(config: Mapping[str, Any]) -> ConfigDict:
    """Convert JSON to a config; lists become tuples, as they were in the config."""
    return ConfigDict(
        {
            name: config_from_json(value)
            if isinstance(value, Mapping)
            else tuple(value)
            if isinstance(value, list)
            else value
            for name, value in config.items()
        }
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    packages = ("ssl_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout, not installed
            versions[package] = "not installed"
    return versions
