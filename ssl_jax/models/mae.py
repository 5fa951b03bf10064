"""The masked autoencoder's network (He et al. 2022, https://arxiv.org/abs/2111.06377)."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ssl_jax.models.layers.patches import (
    gather_tokens,
    patch_grid,
    resample_positions,
    sincos_table,
)
from ssl_jax.models.vit import Block, Implementation, ViT, check_heads, layer_norm, linear


class Reconstruction(NamedTuple):
    """Outputs of a masked autoencoder for images with N patches, of which K are visible.

    Attributes:
        latent: The encoder's tokens after its final norm, class token first, (B, 1 + K, D).
        prediction: Predicted pixels in the order of `patchify`, (B, N, p² C) float32.
        mask: 1 for hidden patches and 0 for visible ones, (B, N) float32.
        ids_restore: Rank of each patch by its noise, (B, N) integer; the first K are visible.
    """

    latent: Array
    prediction: Array
    mask: Array
    ids_restore: Array


class MaskedAutoencoder(nn.Module):
    """An encoder of the visible patches and a light decoder that predicts the hidden ones.

    Attributes:
        backbone: The encoder, which is kept after pretraining.
        channels: Number of bands of the images.
        dim: Channels of the decoder's tokens.
        depth: Number of the decoder's blocks.
        heads: Number of the decoder's attention heads.
        dtype: Dtype of the decoder's computations.
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
        """Hide patches and predict them.

        Args:
            image: Standardised images, (B, H, W, C).
            noise: Random noise that orders the patches, (B, N).
            mask_ratio: Fraction of the patches to hide.
            train: Has no effect; for compatibility with other networks.
            keys: Random keys of the examples for drop path, (B,).

        Returns:
            The predicted pixels, (B, N, p² C) float32, and the mask, (B, N) float32, which is 1 for
            hidden patches.
        """
        result = self.reconstruct(image, noise, mask_ratio, keys)
        return result.prediction, result.mask

    def reconstruct(
        self, image: Array, noise: Array, mask_ratio: float = 0.75, keys: Array | None = None
    ) -> Reconstruction:
        """Hide patches and predict them, with all intermediate results.

        The int(N · (1 - mask_ratio)) patches with the least noise stay visible.

        Args:
            image: Standardised images, (B, H, W, C).
            noise: Random noise that orders the patches, (B, N).
            mask_ratio: Fraction of the patches to hide.
            keys: Random keys of the examples for drop path, (B,).

        Returns:
            The latent, prediction, mask and ranks of the patches.

        Raises:
            ValueError: If shapes don't match, or no patch would be visible.
        """
        grid = patch_grid(image, self.backbone.patch_size)
        num_patches = grid[0] * grid[1]
        num_visible = int(num_patches * (1 - mask_ratio))
        if noise.shape != (len(image), num_patches):
            raise ValueError(
                f"noise: found shape {noise.shape}; expected {(len(image), num_patches)}"
            )
        if image.shape[-1] != self.channels:
            raise ValueError(f"image: found {image.shape[-1]} bands; expected {self.channels}")
        if not 0 < num_visible <= num_patches:
            raise ValueError(
                f"mask_ratio: found {mask_ratio}, which leaves {num_visible} of {num_patches} "
                f"patches visible; expected 1 to {num_patches} visible patches"
            )
        ids_shuffle = jnp.argsort(noise, axis=1)
        ids_restore = jnp.argsort(ids_shuffle, axis=1)
        latent = self.backbone.encode(image, ids_shuffle[:, :num_visible], keys)
        prediction = self.decoder(latent, ids_restore, grid)
        mask = (ids_restore >= num_visible).astype(jnp.float32)
        return Reconstruction(latent, prediction, mask, ids_restore)


class Decoder(nn.Module):
    """The decoder from visible tokens to the pixels of all patches, with fixed sin-cos positions.

    Attributes:
        outputs: Number of outputs per patch, p² C.
        native_grid: Rows and columns of the position table.
        dim: Channels of a token.
        depth: Number of blocks.
        heads: Number of attention heads.
        attention: Implementation of the attention, as in `ViT`.
        dtype: Dtype of the computations.
    """

    outputs: int
    native_grid: tuple[int, int]
    dim: int
    depth: int
    heads: int
    attention: Implementation
    dtype: DTypeLike

    @nn.compact
    def __call__(self, latent: Array, ids_restore: Array, grid: tuple[int, int]) -> Array:
        """Predict the pixels of all patches.

        Args:
            latent: Tokens of the class and of the visible patches, (B, 1 + K, D).
            ids_restore: Rank of each patch by its noise, (B, N) integer.
            grid: Rows and columns of the patches.

        Returns:
            Predicted pixels, (B, N, outputs) float32.
        """
        batch, num_patches = ids_restore.shape
        tokens = linear(self.dim, self.dtype, "embed")(latent)
        mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.dim))
        num_hidden = num_patches + 1 - tokens.shape[1]
        hidden_tokens = jnp.broadcast_to(
            mask_token.astype(self.dtype), (batch, num_hidden, self.dim)
        )
        cls_token, visible_tokens = tokens[:, :1], tokens[:, 1:]
        tokens = gather_tokens(
            jnp.concatenate([visible_tokens, hidden_tokens], axis=1), ids_restore
        )
        table = jnp.asarray(sincos_table(self.dim, *self.native_grid))
        tokens = tokens + resample_positions(table, self.native_grid, grid).astype(self.dtype)
        # The position of the class token is zero.
        tokens = jnp.concatenate([cls_token, tokens], axis=1)
        for i in range(self.depth):
            block = Block(self.heads, 0.0, self.attention, self.dtype, name=f"blocks_{i}")
            tokens = block(tokens)
        tokens = layer_norm(self.dtype, "norm")(tokens)
        return linear(self.outputs, self.dtype, "pred")(tokens)[:, 1:].astype(jnp.float32)
