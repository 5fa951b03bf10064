"""Scaled dot-product attention: plain, in blocks of queries, or cuDNN's flash attention."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Implementation = Literal["auto", "xla", "blockwise", "cudnn"]

# From here on the attention weights (heads, T, T) take more memory than all other activations.
_MAX_PLAIN_TOKENS = 1024
_BLOCK = 256  # queries at most


def dot_product_attention(
    query: Array, key: Array, value: Array, implementation: Implementation = "auto"
) -> Array:
    """Compute softmax(query keyᵀ / √d) value for each head, with the softmax in float32.

    Args:
        query: (B, T, heads, d).
        key: (B, T, heads, d).
        value: (B, T, heads, d).
        implementation: `xla` stores the weights (B, heads, T, T); `blockwise` those of one block of
            queries at a time, so that memory is linear in T; `cudnn` none, in bfloat16 or float16
            on a GPU of compute capability 8.0 or higher. `auto` is `blockwise` for more than 1024
            tokens and `xla` for fewer.

    Returns:
        (B, T, heads, d), in the dtype of `query`.
    """
    if implementation == "cudnn":
        return _cudnn_attention(query, key, value)
    if implementation == "blockwise":
        return _blockwise_attention(query, key, value)
    if implementation == "auto" and query.shape[1] > _MAX_PLAIN_TOKENS:
        return _blockwise_attention(query, key, value)
    return _plain_attention(query, key, value)


def _plain_attention(query: Array, key: Array, value: Array) -> Array:
    # jax.nn's own implementation for XLA requests a product of float16 that CPUs lack, and takes
    # 1.7 times as long on a CPU.
    logits = jnp.einsum("bthd,bshd->bhts", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits * query.shape[-1] ** -0.5).astype(query.dtype)
    return jnp.einsum("bhts,bshd->bthd", weights, value)


def _blockwise_attention(query: Array, key: Array, value: Array) -> Array:
    """Attend from one block of queries at a time; the backward pass recomputes its weights.

    The rows of the softmax are independent, so this is exact. The gradients of keys and values are
    sums over blocks; as the cast is inside the loop they are accumulated in float32.
    """
    batch, tokens, heads, dim = query.shape
    dtype = query.dtype
    key, value = (x.astype(jnp.float32) for x in (key, value))

    @jax.checkpoint
    def attend(block: Array) -> Array:
        return _plain_attention(block, key.astype(dtype), value.astype(dtype))

    blocks = -(-tokens // _BLOCK)
    size = -(-tokens // blocks)  # equal blocks, so that little is padded
    query = jnp.pad(query, ((0, 0), (0, blocks * size - tokens), (0, 0), (0, 0)))
    query = query.reshape(batch, blocks, size, heads, dim).swapaxes(0, 1)
    attended = jax.lax.map(attend, query).swapaxes(0, 1)
    return attended.reshape(batch, blocks * size, heads, dim)[:, :tokens]


def _cudnn_attention(query: Array, key: Array, value: Array) -> Array:
    """Attend by cuDNN, whose gradient needs an even number of tokens: odd ones are padded."""
    batch, tokens = query.shape[:2]
    lengths = None
    if tokens % 2:
        query, key, value = (
            jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (query, key, value)
        )
        lengths = jnp.full((batch,), tokens, jnp.int32)
    attended = jax.nn.dot_product_attention(
        query,
        key,
        value,
        query_seq_lengths=lengths,
        key_value_seq_lengths=lengths,
        implementation="cudnn",
    )
    return attended[:, :tokens]
