"""Names and shapes of the arrays in a tree of variables."""

from typing import Any

import jax

__all__ = ["array_shapes", "find_mismatch", "parameter_path"]


def parameter_path(path: tuple[Any, ...]) -> str:
    """The path of a parameter as it is written in patterns: `backbone/conv1/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def array_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array by its path; nothing is read of the arrays."""
    return {
        parameter_path(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def find_mismatch(
    found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> tuple[str, str, str] | None:
    """The first array that isn't the same in two trees' `array_shapes`; None if all are.

    Returns:
        Its path, what was found and what was expected, as they are told to the user.
    """
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            return (
                name,
                str(found.get(name, "missing")),
                str(expected.get(name, "no such array")),
            )
    return None
