"""Heads: networks on top of a backbone's representation (B, D)."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ssl_jax.models.layers.norm import check_choice, make_norm
from ssl_jax.models.layers.stochastic import dropout

_normal = nn.initializers.normal(0.01)


class Projection(nn.Module):
    """SimCLR's projection head (Chen et al. 2020), 2048 -> 2048 -> 128 in the paper.

    Every layer is normalised and therefore has no bias. The last normalisation has no shift and no
    ReLU follows it. This and the initialisation by N(0, 0.01) are those of `projection_head` in
    google-research/simclr.

    Attributes:
        hidden: Units of each layer except the last.
        out: Units of the last layer.
        layers: Number of layers.
        norm: `batch` (over all devices) or `group`.
        dtype: Dtype of the computations.
    """

    hidden: int = 2048
    out: int = 128
    layers: int = 2
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("norm", self.norm, "batch", "group")

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Compute the projection.

        Args:
            x: Representations, (B, D).
            train: Whether to use the batch's statistics in batch norm.

        Returns:
            Projections, (B, out) float32.
        """
        for i in range(self.layers):
            last = i == self.layers - 1
            units, dtype = (self.out, jnp.float32) if last else (self.hidden, self.dtype)
            x = nn.Dense(
                units, use_bias=False, kernel_init=_normal, dtype=self.dtype, name=f"fc{i + 1}"
            )(x)
            x = make_norm(self.norm, units, train, dtype, f"bn{i + 1}", use_bias=not last)(x)
            x = x if last else nn.relu(x)
        return x


class MLP(nn.Module):
    """A classifier: hidden layers with ReLU and a linear layer.

    Without hidden layers it is a linear probe.

    Attributes:
        num_classes: Number of outputs.
        hidden: Units of each hidden layer.
        dropout: Dropout rate before the linear layer; applied only if keys are given.
        batch_norm: Whether to first normalise the representation over the batch, without scale and
            shift, as MAE's linear probe does.
        initial_std: Standard deviation of the linear layer's initial weights; 0 is SimCLR's
            `zero_init_logits_layer`.
        dtype: Dtype of the hidden layers' computations.
    """

    num_classes: int
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    batch_norm: bool = False
    initial_std: float = 0.01
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, keys: Array | None = None) -> Array:
        """Compute the logits.

        Args:
            x: Representations, (B, D).
            train: Whether to use the batch's statistics in batch norm.
            keys: Random keys of the examples for dropout, (B,).

        Returns:
            Logits, (B, num_classes) float32.
        """
        if self.batch_norm:
            options = {"use_bias": False, "use_scale": False, "epsilon": 1e-6}
            x = make_norm("batch", x.shape[-1], train, self.dtype, "bn", **options)(x)
        for i, units in enumerate(self.hidden):
            he_normal = nn.initializers.he_normal()
            x = nn.relu(
                nn.Dense(units, kernel_init=he_normal, dtype=self.dtype, name=f"fc{i + 1}")(x)
            )
        x = dropout(keys, x, self.dropout)
        normal = nn.initializers.normal(self.initial_std)
        return nn.Dense(self.num_classes, kernel_init=normal, dtype=jnp.float32, name="fc")(x)
