"""The masked autoencoder's network (He et al. 2022, https://arxiv.org/abs/2111.06377)."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ssl_jax.models.patches import gather_tokens, patch_grid, resample_positions, sincos_table
from ssl_jax.models.vit import Block, Implementation, ViT, check_heads, layer_norm, linear


class Reconstruction(NamedTuple):
    """All a masked autoencoder makes of images with N patches, K of them visible.

    Attributes:
        latent: (B, 1 + K, D) the encoder's tokens after its final norm, class token first.
        prediction: (B, N, p² C) float32, as `patchify` orders it.
        mask: (B, N) float32, 1 where a patch was hidden.
        ids_restore: (B, N), the rank of each patch by its noise; the first K were visible.
    """

    latent: Array
    prediction: Array
    mask: Array
    ids_restore: Array


class MaskedAutoencoder(nn.Module):
    """An encoder that sees some patches and a light decoder that fills in the others.

    Attributes:
        backbone: the encoder, which is what is kept.
        channels: bands of the images.
        dim, depth, heads: of the decoder.
        dtype: of the decoder's arithmetic.
    """

    backbone: ViT
    channels: int
    dim: int = 512
    depth: int = 8
    heads: int = 16
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads("dim", self.dim, self.heads)

    def setup(self) -> None:  # noqa: D102
        self.decoder = Decoder(
            outputs=self.backbone.patch_size**2 * self.channels,
            native_grid=self.backbone.grid,
            dim=self.dim,
            depth=self.depth,
            heads=self.heads,
            attention=self.backbone.attention,
            dtype=self.dtype,
        )

    def __call__(
        self,
        image: Array,
        noise: Array,
        mask_ratio: float = 0.75,
        train: bool = False,
        keys: Array | None = None,
    ) -> tuple[Array, Array]:
        """Prediction (B, N, p² C) and mask (B, N), 1 where a patch was hidden."""
        result = self.reconstruct(image, noise, mask_ratio, keys)
        return result.prediction, result.mask

    def reconstruct(
        self, image: Array, noise: Array, mask_ratio: float = 0.75, keys: Array | None = None
    ) -> Reconstruction:
        """Hide patches of `image` (B, H, W, C) and predict them; keys (B,) for drop path.

        The int(N · (1 - mask_ratio)) patches of least `noise` (B, N) stay visible.

        Raises:
            ValueError: shapes don't match, or no patch would be visible.
        """
        grid = patch_grid(image, self.backbone.patch_size)
        patches = grid[0] * grid[1]
        visible = int(patches * (1 - mask_ratio))
        if noise.shape != (len(image), patches):
            raise ValueError(f"noise: found {noise.shape}; expected {(len(image), patches)}")
        if image.shape[-1] != self.channels:
            raise ValueError(f"image: found {image.shape[-1]} bands; expected {self.channels}")
        if not 0 < visible <= patches:
            raise ValueError(
                f"mask_ratio: found {mask_ratio}, which leaves {visible} of {patches} patches; "
                "expected at least one and at most all"
            )
        ids_shuffle = jnp.argsort(noise, axis=1)
        ids_restore = jnp.argsort(ids_shuffle, axis=1)
        latent = self.backbone.encode(image, ids_shuffle[:, :visible], keys)
        prediction = self.decoder(latent, ids_restore, grid)
        mask = (ids_restore >= visible).astype(jnp.float32)
        return Reconstruction(latent, prediction, mask, ids_restore)


class Decoder(nn.Module):
    """From the visible tokens to the pixels of all patches; positions are fixed sin-cos."""

    outputs: int
    native_grid: tuple[int, int]
    dim: int
    depth: int
    heads: int
    attention: Implementation
    dtype: DTypeLike

    @nn.compact
    def __call__(self, latent: Array, ids_restore: Array, grid: tuple[int, int]) -> Array:
        """Tokens (B, 1 + K, D) and ranks (B, N) -> (B, N, outputs) float32."""
        batch, patches = ids_restore.shape
        tokens = linear(self.dim, self.dtype, "embed")(latent)
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.dim))
        hidden = patches + 1 - tokens.shape[1]
        hidden_tokens = jnp.broadcast_to(mask_token.astype(self.dtype), (batch, hidden, self.dim))
        cls_token, visible_tokens = tokens[:, :1], tokens[:, 1:]
        tokens = gather_tokens(
            jnp.concatenate([visible_tokens, hidden_tokens], axis=1), ids_restore
        )
        table = jnp.asarray(sincos_table(self.dim, *self.native_grid))
        tokens = tokens + resample_positions(table, self.native_grid, grid).astype(self.dtype)
        tokens = jnp.concatenate([cls_token, tokens], axis=1)  # whose own position is zero
        for i in range(self.depth):
            block = Block(self.heads, 0.0, self.attention, self.dtype, name=f"blocks_{i}")
            tokens = block(tokens)
        tokens = layer_norm(self.dtype, "norm")(tokens)
        return linear(self.outputs, self.dtype, "pred")(tokens)[:, 1:].astype(jnp.float32)
