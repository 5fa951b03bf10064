"""The error measure of all comparisons in tests/parity with reference implementations."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def relative_error(actual, expected) -> float:
    """Compute the maximum error relative to the maximum of the reference: max|a - b| / max|b|."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"found shape {actual.shape}; expected {expected.shape}"
    error = np.abs(actual - expected).max()
    return float(error / np.abs(expected).max()) if error > 0 else 0.0


def relative_errors(actual, expected) -> dict[str, float]:
    """Compute the relative error of each array of two pytrees with the same structure."""
    actual, expected = flatten_by_path(actual), flatten_by_path(expected)
    assert actual.keys() == expected.keys(), sorted(actual.keys() ^ expected.keys())
    return {name: relative_error(actual[name], expected[name]) for name in actual}


def assert_agreement(comparison: str, actual, expected, tolerance: float) -> None:
    """Print the largest relative error of the arrays of two pytrees, and check all of them.

    Args:
        comparison: What is compared, for the printed line.
        actual: The pytree to check.
        expected: The pytree of the reference implementation.
        tolerance: Maximum relative error of each array.
    """
    errors = relative_errors(actual, expected)
    worst = max(errors, key=errors.get)
    details = f" (the largest of {len(errors)} arrays: {worst})" if len(errors) > 1 else ""
    print(f"\n{comparison}: {errors[worst]:.1e}{details}")
    too_large = {name: error for name, error in errors.items() if not error <= tolerance}
    assert not too_large, f"{comparison}: errors above {tolerance:g}: {too_large}"


def flatten_by_path(tree) -> dict[str, np.ndarray]:
    """Flatten a pytree into a dict with keys such as `backbone/conv1/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@contextlib.contextmanager
def use_float64():
    """Compute in float64, also where the package uses float32, to exclude rounding errors.

    For networks whose gradients have fewer than five significant digits in float32, in any
    implementation. dtypes passed as arguments do not change.
    """
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jnp, "float32", jnp.float64)
        yield
