"""Functions shared by the objectives."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jax import Array

from ssl_jax.augment import Augmentation, Normalisation

# Folded into a step's key for dropout and for the mixing of examples. Neither an example's index
# nor the number of keys that a key is split into is as large: their draws differ from the views'.
DROPOUT, MIXING = 2**32 - 1, 2**32 - 2


def make_example_keys(key: Array, index: Array) -> Array:
    """Derive one random key per example, independent of the number of devices.

    Args:
        key: Random key of the step.
        index: Global indices of the examples, (B,).

    Returns:
        Keys, (B,).
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def make_random_views(
    views: Augmentation, normalise: Normalisation, keys: Array, image: Array
) -> Array:
    """Draw the random views that a network is trained on.

    Args:
        views: The augmentation.
        normalise: The normalisation.
        keys: Random keys of the examples, (B,).
        image: Images in digital numbers, (B, H, W, C).

    Returns:
        Standardised views, (B, h, w, C).
    """
    drawn = normalise.standardise(jax.vmap(views)(keys, normalise.unit(image)))
    return jax.vmap(views.erase)(keys, drawn)


def make_deterministic_view(views: Augmentation, normalise: Normalisation, image: Array) -> Array:
    """Compute the deterministic views that a network is evaluated on.

    Args:
        views: The augmentation, which is applied with a constant key.
        normalise: The normalisation.
        image: Images in digital numbers, (B, H, W, C).

    Returns:
        Standardised views, (B, h, w, C).
    """
    view = jax.vmap(lambda x: views(jax.random.key(0), x))(normalise.unit(image))
    return normalise.standardise(view)


def submodule_variables(variables: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the variables of a submodule, in the collections in which it has any."""
    return {collection: v[name] for collection, v in variables.items() if name in v}


def apply_in_train_mode(
    module: nn.Module, variables: dict[str, Any], x: Array, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """Apply a module in training mode.

    Args:
        module: The module.
        variables: Its variables.
        x: Its input, (B, ...).
        **options: Further arguments of the module.

    Returns:
        The output and the new batch statistics.
    """
    output, changed = module.apply(variables, x, train=True, mutable=["batch_stats"], **options)
    return output, changed.get("batch_stats", {})


def check_values(
    accumulate: int, class_weights: tuple[float, ...] = (), classes: tuple[str, ...] = ()
) -> None:
    """Check values that several objectives have.

    Args:
        accumulate: Number of micro-batches.
        class_weights: Weight of each class, or empty.
        classes: Names of the classes.

    Raises:
        ValueError: If one is impossible.
    """
    if accumulate < 1:
        raise ValueError(f"accumulate: found {accumulate}; expected at least 1")
    are_numbers = all(isinstance(w, int | float) and 0 <= w < float("inf") for w in class_weights)
    if class_weights and not (
        are_numbers and any(class_weights) and len(class_weights) == len(classes)
    ):
        raise ValueError(
            f"class_weights: found {class_weights}; expected balanced, or a positive number for "
            f"each of the {len(classes)} classes {', '.join(classes)}"
        )
