"""Dropout and stochastic depth with one key per example.

The keys are derived from the examples' own indices. What is dropped therefore does not depend on
how a batch is distributed over devices or split into micro-batches.
"""

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["drop_path", "dropout", "fold_in_keys"]


def fold_in_keys(keys: Array | None, index: int) -> Array | None:
    """Derive the keys of one of several layers of a network.

    Args:
        keys: Random keys of the examples, (B,), or None.
        index: Index of the layer.

    Returns:
        Keys (B,), or None if `keys` is None.
    """
    return None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, index)


def dropout(keys: Array | None, x: Array, rate: float, whole_channels: bool = False) -> Array:
    """Set random values to zero and scale up the others (Srivastava et al. 2014).

    Args:
        keys: Random keys of the examples, (B,), or None for no dropout.
        x: Input, (B, ..., C).
        rate: Probability of dropping a value.
        whole_channels: Whether to drop a channel of an example at all positions together.

    Returns:
        An array of the shape and dtype of `x`; `x` itself without keys or at rate 0.
    """
    if keys is None or rate == 0.0:
        return x
    shape = [1] * (x.ndim - 2) + [x.shape[-1]] if whole_channels else x.shape[1:]
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, tuple(shape)))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0).astype(x.dtype)


def drop_path(keys: Array | None, branch: Array, rate: float) -> Array:
    """Set the residual branch of random examples to zero and scale up the others.

    This is the stochastic depth of Huang et al. 2016.

    Args:
        keys: Random keys of the examples, (B,), or None for no drop path.
        branch: Residual branch, (B, ...).
        rate: Probability of dropping the branch of an example.

    Returns:
        An array of the shape and dtype of `branch`; `branch` itself without keys or at rate 0.
    """
    if keys is None or rate == 0.0:
        return branch
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate))(keys)
    kept = kept.reshape(-1, *[1] * (branch.ndim - 1))
    return jnp.where(kept, branch / (1.0 - rate), 0.0).astype(branch.dtype)
