"""The training state."""

from typing import Any

import jax
import optax
from flax import struct


class TrainState(struct.PyTreeNode):
    """Everything that a training step reads and writes.

    It holds no random key: the randomness of a step follows from the seed and `step`.

    Attributes:
        step: Number of completed steps, an int32 scalar.
        params: Parameters, float32.
        batch_stats: Running statistics of batch norm; an empty dict for networks without it.
        opt_state: State of the optimizer.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as Flax modules take them."""
        return {"params": self.params, "batch_stats": self.batch_stats}
