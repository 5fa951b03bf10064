"""What the objectives have in common."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jax import Array

from ssl_jax.augment import Augmentation, Normalisation

# Folded into a step's key for what networks drop and for how examples are mixed. No example's index
# is as large, nor is the number of keys one is split into: neither shares a draw with the views.
DROPOUT, MIXING = 2**32 - 1, 2**32 - 2


def make_example_keys(key: Array, index: Array) -> Array:
    """One key for each example from its global index (B,): the same on any number of devices."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def make_random_views(
    views: Augmentation, normalise: Normalisation, keys: Array, image: Array
) -> Array:
    """Digital numbers (B, H, W, C) -> what a network is trained on, one key an example."""
    drawn = normalise.standardise(jax.vmap(views)(keys, normalise.unit(image)))
    return jax.vmap(views.erase)(keys, drawn)


def make_deterministic_view(views: Augmentation, normalise: Normalisation, image: Array) -> Array:
    """Digital numbers (B, H, W, C) -> what a network is evaluated on, (B, h, w, C) standardised."""
    view = jax.vmap(lambda x: views(jax.random.key(0), x))(normalise.unit(image))
    return normalise.standardise(view)


def submodule_variables(variables: dict[str, Any], name: str) -> dict[str, Any]:
    """The variables of the submodule `name`, in those collections where it has any."""
    return {collection: v[name] for collection, v in variables.items() if name in v}


def apply_in_train_mode(
    module: nn.Module, variables: dict[str, Any], x: Array, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """The module's output in training mode, and its new batch statistics."""
    output, changed = module.apply(variables, x, train=True, mutable=["batch_stats"], **options)
    return output, changed.get("batch_stats", {})
