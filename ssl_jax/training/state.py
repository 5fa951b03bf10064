"""The training state."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from ssl_jax.training.loss_scaling import LossScale


class TrainState(struct.PyTreeNode):
    """Everything that a training step reads and writes.

    It holds no random key: the randomness of a step follows from the seed and `step`.

    Attributes:
        step: Number of completed steps, an int32 scalar.
        params: Parameters, float32.
        batch_stats: Running statistics of batch norm; an empty dict for networks without it.
        opt_state: State of the optimizer.
        loss_scale: The loss scale of a run in float16; None in other precisions.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    loss_scale: LossScale | None = None

    @classmethod
    def create(
        cls,
        variables: Mapping[str, Any],
        optimizer: optax.GradientTransformation,
        loss_scale: LossScale | None = None,
    ) -> "TrainState":
        """Create the state before the first step.

        Args:
            variables: The variables, as an objective initialises them.
            optimizer: The optimizer.
            loss_scale: The first loss scale; None if the loss is not scaled.
        """
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=optimizer.init(variables["params"]),
            loss_scale=loss_scale,
        )

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as Flax modules take them."""
        return {"params": self.params, "batch_stats": self.batch_stats}
