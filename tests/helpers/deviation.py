"""How far apart two implementations are: the one definition that all of tests/parity uses."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def deviation(ours, theirs) -> float:
    """Largest difference, as a part of the reference's largest value: max |a - b| / max |b|."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{ours.shape} against {theirs.shape}"
    largest = np.abs(ours - theirs).max()
    return float(largest / np.abs(theirs).max()) if largest > 0 else 0.0


def deviations(ours, theirs) -> dict[str, float]:
    """That of each array in two trees which have the same ones."""
    ours, theirs = by_name(ours), by_name(theirs)
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    return {name: deviation(ours[name], theirs[name]) for name in ours}


def expect_agreement(comparison: str, ours, theirs, tolerance: float) -> None:
    """Print the largest deviation of the arrays in two trees, and hold all to a bound."""
    found = deviations(ours, theirs)
    worst = max(found, key=found.get)
    among = f" (the largest of {len(found)}: {worst})" if len(found) > 1 else ""
    print(f"\n{comparison}: {found[worst]:.1e}{among}")
    beyond = {name: value for name, value in found.items() if not value <= tolerance}
    assert not beyond, f"{comparison}: beyond {tolerance:g}: {beyond}"


def by_name(tree) -> dict[str, np.ndarray]:
    """The arrays of a tree as `backbone/conv1/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@contextlib.contextmanager
def in_float64():
    """Compute in float64, also where the package insists on float32: rounding out of the way.

    For networks whose gradients a float32 can't tell to five digits, whoever computes them. What
    is given as dtype is not changed.
    """
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jnp, "float32", jnp.float64)
        yield
