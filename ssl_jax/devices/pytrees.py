"""Paths and shapes of the arrays in a pytree of variables."""

from typing import Any

import jax

__all__ = ["array_shapes", "find_mismatch", "parameter_path"]


def parameter_path(path: tuple[Any, ...]) -> str:
    """Format the key path of a parameter as patterns match it: `backbone/conv1/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def array_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array by its path; the arrays' values are not read."""
    return {
        parameter_path(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def find_mismatch(
    shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> tuple[str, str, str] | None:
    """Find the first array, in the order of paths, that differs between two pytrees.

    Args:
        shapes: The `array_shapes` of a pytree.
        expected: The `array_shapes` that it should have.

    Returns:
        The path of the array, the shape found and the shape expected, formatted for a message; None
        if all arrays agree.
    """
    for name in sorted(shapes.keys() | expected.keys()):
        if shapes.get(name) != expected.get(name):
            return (
                name,
                str(shapes.get(name, "missing")),
                str(expected.get(name, "no such array")),
            )
    return None
