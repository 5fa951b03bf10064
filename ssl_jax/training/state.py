"""The training state."""

from typing import Any

import jax
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

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as Flax modules take them."""
        return {"params": self.params, "batch_stats": self.batch_stats}
