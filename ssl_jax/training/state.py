"""What a training step maps to its successor."""

from typing import Any

import jax
import optax
from flax import struct


class TrainState(struct.PyTreeNode):
    """Everything a step reads and writes; randomness is not part of it (it follows from `step`).

    Attributes:
        step: int32 scalar, the number of steps taken.
        params: float32 parameters.
        batch_stats: running statistics of batch norm; an empty dict for networks without.
        opt_state: the optimizer's state.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """The variables a Flax module takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}
