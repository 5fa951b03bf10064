"""Scaled dot-product attention: plain, in blocks of queries, or cuDNN's flash attention."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array
from jax.typing import DTypeLike

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
        implementation: `xla` computes the weights (B, heads, T, T) at once; `blockwise` those of
            one block of queries at a time, so that memory is linear in T; `cudnn` stores none, in
            bfloat16 or float16 on a GPU of compute capability 8.0 or higher. `auto` is `blockwise`
            for more than 1024 tokens and `xla` for fewer. All of them compute the weights again in
            the backward pass (Dao et al. 2022, section 3.1).

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
    batch = len(query)
    # The products are twice as fast on a CPU if the head precedes the token.
    query, key, value = (rearrange(x, "b t h d -> (b h) t d") for x in (query, key, value))
    return rearrange(_attend(query, key, value), "(b h) t d -> b t h d", b=batch)


@jax.custom_vjp
def _attend(query: Array, key: Array, value: Array) -> Array:
    """Attend from queries (N, T, d) to keys and values (N, S, d), which gives (N, T, d)."""
    return _mix(_compute_weights(query, key).astype(value.dtype), value, value.dtype)


def _attend_forward(query: Array, key: Array, value: Array) -> tuple[Array, tuple[Array, ...]]:
    return _attend(query, key, value), (query, key, value)


def _attend_backward(
    inputs: tuple[Array, Array, Array], cotangent: Array
) -> tuple[Array, Array, Array]:
    query, key, value = inputs
    weights = _compute_weights(query, key)
    weights_gradient = _compare(cotangent, value)
    logits_gradient = weights * (
        weights_gradient - (weights_gradient * weights).sum(axis=-1, keepdims=True)
    )
    logits_gradient = (logits_gradient * query.shape[-1] ** -0.5).astype(query.dtype)
    return (
        _mix(logits_gradient, key, query.dtype),
        _mix(logits_gradient.swapaxes(1, 2), query, key.dtype),
        _mix(weights.astype(value.dtype).swapaxes(1, 2), cotangent, value.dtype),
    )


_attend.defvjp(_attend_forward, _attend_backward)


def _compute_weights(query: Array, key: Array) -> Array:
    """Compute the softmax of the scaled products of queries and keys, (N, T, S) float32."""
    return jax.nn.softmax(_compare(query, key) * query.shape[-1] ** -0.5)


def _compare(left: Array, right: Array) -> Array:
    """Compute the products (N, T, S) float32 of all vectors in (N, T, d) and (N, S, d)."""
    return jnp.einsum("ntd,nsd->nts", left, right, preferred_element_type=jnp.float32)


def _mix(weights: Array, vectors: Array, dtype: DTypeLike) -> Array:
    """Sum vectors (N, S, d) with weights (N, T, S), which gives (N, T, d)."""
    return jnp.einsum("nts,nsd->ntd", weights, vectors).astype(dtype)


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
