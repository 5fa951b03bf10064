"""The exact GELU, with its derivative written out."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_jvp
def gelu(x: Array) -> Array:
    """x Φ(x) with Φ the normal distribution (Hendrycks & Gimpel 2016), not its tanh approximation.

    `jax.nn.gelu(approximate=False)`, whose own derivative jax 0.12 can't take inside a `shard_map`
    that checks varying axes.
    """
    return jax.nn.gelu(x, approximate=False)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    distribution = 0.5 * jax.lax.erfc(-x * math.sqrt(0.5))
    density = jnp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return gelu(x), (distribution + x * density) * tangent
