"""Dropout and stochastic depth with one key an example.

The keys come from the examples' own numbers, so what is dropped does not depend on how a batch is
spread over devices or cut into micro-batches.
"""

import jax
import jax.numpy as jnp
from jax import Array

__all__ = ["drop_path", "dropout", "fold_in_keys"]


def fold_in_keys(keys: Array | None, place: int) -> Array | None:
    """Keys (B,) for one of several places in a network; None stays None."""
    return None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, place)


def dropout(keys: Array | None, x: Array, rate: float, whole_channels: bool = False) -> Array:
    """Zero values of x (B, ..., C) with probability `rate` and scale up the rest.

    Srivastava et al. 2014; with `whole_channels` a channel of an example is dropped everywhere.
    Without keys, or at rate 0, x is returned as it is.
    """
    if keys is None or rate == 0.0:
        return x
    shape = [1] * (x.ndim - 2) + [x.shape[-1]] if whole_channels else x.shape[1:]
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, tuple(shape)))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0).astype(x.dtype)


def drop_path(keys: Array | None, branch: Array, rate: float) -> Array:
    """Zero an example's whole residual branch (B, ...) with probability `rate`.

    Huang et al. 2016; the branches that stay are scaled up.
    """
    if keys is None or rate == 0.0:
        return branch
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate))(keys)
    kept = kept.reshape(-1, *[1] * (branch.ndim - 1))
    return jnp.where(kept, branch / (1.0 - rate), 0.0).astype(branch.dtype)
