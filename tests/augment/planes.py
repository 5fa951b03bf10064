"""Functions of planes (C, H, W) for images whose bands are the last axis (H, W, C)."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array


def on_planes(function: Callable[..., Array], position: int = 0) -> Callable[..., Array]:
    """Return a function with an image and a result (H, W, C) instead of (C, H, W).

    Args:
        function: The function.
        position: Position of the image among its arguments.
    """

    def apply(*arguments: Any, **settings: Any) -> Array:
        image = jnp.moveaxis(jnp.asarray(arguments[position]), -1, 0)
        planes = function(*arguments[:position], image, *arguments[position + 1 :], **settings)
        return jnp.moveaxis(planes, 0, -1)

    return apply
