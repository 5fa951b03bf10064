"""The exact GELU with an explicit derivative."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_jvp
def gelu(x: Array) -> Array:
    """Compute x Φ(x), where Φ is the normal distribution function (Hendrycks & Gimpel 2016).

    This is `jax.nn.gelu(approximate=False)`, without the tanh approximation. Its own derivative
    can't be computed by jax 0.12 inside a `shard_map` that checks varying axes.

    Args:
        x: Input of any shape, floating-point.

    Returns:
        An array of the shape and dtype of `x`.
    """
    return jax.nn.gelu(x, approximate=False)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    distribution = 0.5 * jax.lax.erfc(-x * math.sqrt(0.5))
    density = jnp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return gelu(x), (distribution + x * density) * tangent
