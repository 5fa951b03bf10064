"""Random variables, created without compiling an initialisation."""

import jax
import numpy as np
import pytest


def draw_variables(net, *inputs, method="__call__"):
    """Draw random variables of the right shapes; `net.init` is traced but not compiled or run."""
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), *inputs, method=method))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
        fan_in = np.prod(leaf.shape[:-1]) if name == "kernel" else 25
        return (rng.normal(size=leaf.shape) / fan_in**0.5).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="session")
def draw():
    return draw_variables
