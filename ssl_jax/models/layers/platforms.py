"""Functions with a form of their own on CPUs."""

from __future__ import annotations

from collections.abc import Callable

from jax import Array, lax

from ssl_jax.devices.private import varying_axes

__all__ = ["choose_by_platform", "vary_alike"]


def choose_by_platform(
    cpu: Callable[[Array, Array], Array] | None,
    default: Callable[[Array, Array], Array],
    first: Array,
    second: Array,
) -> Array:
    """Call one function on CPUs, if it is not None, and another one elsewhere.

    Programs exported for other platforms, and what `--describe` counts, have the other one.
    """
    if cpu is None:
        return default(first, second)
    return lax.platform_dependent(first, second, cpu=cpu, default=default)


def vary_alike(first: Array, second: Array) -> tuple[Array, Array]:
    """Let JAX regard two arrays as different on the devices along the same axes of the mesh.

    The gradient of an array that is the same on several devices is the sum of theirs. A function
    with a gradient of its own leaves that to JAX if its arguments have passed through this one.
    """
    axes = varying_axes(first) | varying_axes(second)
    return _vary(first, axes), _vary(second, axes)


def _vary(array: Array, axes: frozenset[str]) -> Array:
    missing = tuple(axes - varying_axes(array))
    return lax.pcast(array, missing, to="varying") if missing else array
