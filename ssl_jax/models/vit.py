"""Vision transformers (Dosovitskiy et al. 2021) with the details of MAE (He et al. 2022).

They have pre-norm blocks, a fused qkv with bias, LayerNorm with an epsilon of 1e-6, the exact GELU
and fixed sin-cos positions. The names of the parameters are timm's: `patch_embed`, `cls_token`,
`blocks_0/attn/qkv`, `norm`.
"""

from __future__ import annotations

import functools
from typing import get_args

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax import Array
from jax.typing import DTypeLike

from ssl_jax.models.layers.activations import gelu
from ssl_jax.models.layers.attention import Implementation, dot_product_attention
from ssl_jax.models.layers.linear import Linear
from ssl_jax.models.layers.norm import check_choice
from ssl_jax.models.layers.patches import (
    gather_tokens,
    patch_grid,
    patchify,
    resample_positions,
    sincos_table,
)
from ssl_jax.models.layers.stochastic import drop_path, fold_in_keys


class ViT(nn.Module):
    """A vision transformer, by default ViT-B with patches of 8 pixels.

    All methods create the same parameters, so that parameters trained by one can be used by others.

    Attributes:
        dim: Channels of a token, D.
        depth: Number of blocks.
        heads: Number of attention heads, among which the channels are divided.
        patch_size: Side of a patch, p, in pixels.
        image_size: Side of the images that the position table is made for, in pixels. For other
            images, whose sides may be any multiples of the patch size, the table is resampled
            bicubically.
        drop_path: Probability of dropping a branch of the last block, decreasing linearly to 0 in
            the first (Huang et al. 2016); applied only if keys are given.
        pool: `cls`, the class token after the final norm, or `mean`, the norm of the mean of the
            patches' tokens. The latter is `fc_norm` of MAE's fine-tuning, where the norm, having
            been pretrained on other tokens, is initialised anew.
        position: `sincos` (fixed) or `learned`.
        attention: Implementation of the attention, see `attention.dot_product_attention`.
        dtype: Dtype of the computations.
    """

    dim: int = 768
    depth: int = 12
    heads: int = 12
    patch_size: int = 8
    image_size: int = 120
    drop_path: float = 0.0
    pool: str = "cls"
    position: str = "sincos"
    attention: Implementation = "auto"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("pool", self.pool, "cls", "mean")
        check_choice("position", self.position, "sincos", "learned")
        check_choice("attention", self.attention, *get_args(Implementation))
        check_heads("dim", self.dim, self.heads)
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size: found {self.image_size}; expected a multiple of patch_size "
                f"{self.patch_size}"
            )

    @property
    def features(self) -> int:
        """The length D of the representation."""
        return self.dim

    @property
    def grid(self) -> tuple[int, int]:
        """The number of rows and columns of the position table."""
        side = self.image_size // self.patch_size
        return side, side

    def setup(self) -> None:  # noqa: D102
        self.patch_embed = linear(self.dim, self.dtype)
        self.cls_token = self.param("cls_token", nn.initializers.normal(0.02), (1, 1, self.dim))
        if self.position == "learned":
            shape = (1, 1 + self.grid[0] * self.grid[1], self.dim)
            self.pos_embed = self.param("pos_embed", nn.initializers.normal(0.02), shape)
        self.blocks = [
            Block(
                heads=self.heads,
                drop_path=self.drop_path * i / max(self.depth - 1, 1),
                attention=self.attention,
                dtype=self.dtype,
            )
            for i in range(self.depth)
        ]
        self.norm = layer_norm(jnp.float32)

    def __call__(self, image: Array, train: bool = False, keys: Array | None = None) -> Array:
        """Compute the representation, pooled and normalised.

        Args:
            image: Standardised images, (B, H, W, C).
            train: Not used.
            keys: Random keys of the examples for drop path, (B,).

        Returns:
            Representations, (B, D) float32.
        """
        tokens = self._compute_block_outputs(image, None, keys)[-1]
        if self.pool == "cls":
            return self.norm(tokens[:, 0])
        return self.norm(jnp.mean(tokens[:, 1:], axis=1, dtype=jnp.float32))

    def encode(self, image: Array, keep: Array | None = None, keys: Array | None = None) -> Array:
        """Compute the tokens after the final norm.

        Args:
            image: Standardised images, (B, H, W, C).
            keep: Distinct indices of the patches to embed and attend to, (B, K) integer; all
                patches by default.
            keys: Random keys of the examples for drop path, (B,).

        Returns:
            Tokens, the class token first, (B, 1 + K, D) float32.
        """
        return self.norm(self._compute_block_outputs(image, keep, keys)[-1])

    def levels(
        self, image: Array, train: bool = False, keys: Array | None = None
    ) -> tuple[Array, ...]:
        """Compute the feature maps after ⅓, ½, ⅔ and all of the blocks: 4, 6, 8, 12 of 12.

        Args:
            image: Standardised images, (B, H, W, C).
            train: Not used.
            keys: Random keys of the examples for drop path, (B,).

        Returns:
            Four maps, (B, H/p, W/p, D) each.
        """
        rows, columns = patch_grid(image, self.patch_size)
        outputs = self._compute_block_outputs(image, None, keys)
        if self.is_initializing():
            self.norm(outputs[-1])  # not used here, but all methods create the same parameters
        ends = (max(round(self.depth * fraction), 1) for fraction in (1 / 3, 1 / 2, 2 / 3, 1))
        return tuple(
            rearrange(outputs[end - 1][:, 1:], "b (h w) d -> b h w d", h=rows, w=columns)
            for end in ends
        )

    def _compute_block_outputs(
        self, image: Array, keep: Array | None, keys: Array | None
    ) -> list[Array]:
        """Compute the tokens (B, 1 + K, D) after each block."""
        tokens = self._embed(image, keep)
        outputs = []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, fold_in_keys(keys, i))
            outputs.append(tokens)
        return outputs

    def _embed(self, image: Array, keep: Array | None) -> Array:
        """Embed the class token and the patches with their positions, (B, 1 + K, D)."""
        patches = patchify(image, self.patch_size)
        cls_position, positions = self._positions(patch_grid(image, self.patch_size))
        if keep is not None:
            # Selected before the embedding, so that hidden patches cost no computation.
            patches, positions = gather_tokens(patches, keep), positions[keep]
        tokens = self.patch_embed(patches) + positions.astype(self.dtype)
        cls_token = jnp.asarray(self.cls_token + cls_position, self.dtype)
        cls_token = jnp.broadcast_to(cls_token, (len(tokens), 1, self.dim))
        return jnp.concatenate([cls_token, tokens], axis=1)

    def _positions(self, grid: tuple[int, int]) -> tuple[Array, Array]:
        """Return the positions of the class token (D,), zero if fixed, and the patches (N, D)."""
        if self.position == "sincos":
            table = jnp.asarray(sincos_table(self.dim, *self.grid))
            return jnp.zeros(self.dim), resample_positions(table, self.grid, grid)
        return self.pos_embed[0, 0], resample_positions(self.pos_embed[0, 1:], self.grid, grid)


class Block(nn.Module):
    """A pre-norm transformer block: attention, then an MLP with 4 D units.

    Attributes:
        heads: Number of attention heads.
        drop_path: Probability of dropping a branch.
        attention: Implementation of the attention.
        dtype: Dtype of the computations.
    """

    heads: int
    drop_path: float
    attention: Implementation
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens: Array, keys: Array | None = None) -> Array:
        """Apply the block to tokens (B, T, D), with keys (B,) for drop path."""
        x = layer_norm(self.dtype, "norm1")(tokens)
        x = Attention(self.heads, self.attention, self.dtype, name="attn")(x)
        tokens = tokens + drop_path(fold_in_keys(keys, 0), x, self.drop_path)
        x = layer_norm(self.dtype, "norm2")(tokens)
        x = Mlp(4 * tokens.shape[-1], self.dtype, name="mlp")(x)
        return tokens + drop_path(fold_in_keys(keys, 1), x, self.drop_path)


class Attention(nn.Module):
    """Multi-head self-attention; the softmax is float32 for any dtype.

    Attributes:
        heads: Number of heads.
        implementation: Implementation of the attention.
        dtype: Dtype of the computations.
    """

    heads: int
    implementation: Implementation
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Apply the attention to tokens (B, T, D)."""
        dim = tokens.shape[-1]
        qkv = linear(3 * dim, self.dtype, "qkv")(tokens)
        query, key, value = rearrange(
            qkv, "b t (three heads d) -> three b t heads d", three=3, heads=self.heads
        )
        mixed = dot_product_attention(query, key, value, self.implementation)
        return linear(dim, self.dtype, "proj")(rearrange(mixed, "b t heads d -> b t (heads d)"))


class Mlp(nn.Module):
    """An MLP with one hidden layer and the exact GELU.

    Attributes:
        hidden: Number of hidden units.
        dtype: Dtype of the computations.
    """

    hidden: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """Apply the MLP to tokens (B, T, D)."""
        x = gelu(linear(self.hidden, self.dtype, "fc1")(tokens))
        return linear(tokens.shape[-1], self.dtype, "fc2")(x)


def linear(features: int, dtype: DTypeLike, name: str | None = None) -> Linear:
    """Create a linear layer with MAE's Xavier-uniform initialisation.

    The fused qkv is initialised as one matrix (D, 3 D).

    Args:
        features: Number of output channels.
        dtype: Dtype of the computations.
        name: Name of the layer.
    """
    xavier = nn.initializers.xavier_uniform()
    return Linear(features, kernel_init=xavier, dtype=dtype, name=name)


def layer_norm(dtype: DTypeLike, name: str | None = None) -> nn.LayerNorm:
    """Create a layer norm with MAE's epsilon of 1e-6."""
    return nn.LayerNorm(epsilon=1e-6, dtype=dtype, name=name)


def check_heads(field: str, dim: int, heads: int) -> None:
    """Check that channels can be divided among heads, and among sines and cosines of two axes.

    Args:
        field: Name of the field `dim`, for the error message.
        dim: Number of channels.
        heads: Number of attention heads.

    Raises:
        ValueError: If `dim` is not a multiple of `heads` and of 4.
    """
    if dim % heads or dim % 4:
        raise ValueError(
            f"{field}: found {dim}; expected a multiple of heads ({heads}) and of 4 (sines and "
            "cosines of row and column)"
        )


vit_b = functools.partial(ViT, dim=768, depth=12, heads=12)
vit_s = functools.partial(ViT, dim=384, depth=12, heads=6)
vit_ti = functools.partial(ViT, dim=192, depth=12, heads=3)
