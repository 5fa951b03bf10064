"""Dynamic loss scaling, which keeps the gradients of a float16 network from underflowing.

Micikevicius et al. 2018 (https://arxiv.org/abs/1710.03740), with the constants of PyTorch's
`torch.amp.GradScaler`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

__all__ = ["MAX_CONSECUTIVE_OVERFLOWS", "LossScale", "all_finite"]

_INITIAL_SCALE = 2.0**16
_GROWTH_INTERVAL = 2000  # steps
# From the initial scale down to 1/16: an overflow there has another cause than the scale.
MAX_CONSECUTIVE_OVERFLOWS = 20


@struct.dataclass
class LossScale:
    """The factor by which the loss is multiplied, as part of the training state.

    Attributes:
        scale: () float32, a power of two.
        finite_steps: () int32, number of steps with finite gradients since the scale changed.
        overflows: () int32, number of consecutive steps up to now with gradients that are not
            finite.
    """

    scale: jax.Array
    finite_steps: jax.Array
    overflows: jax.Array

    @classmethod
    def create(cls) -> LossScale:
        """Create the scale of the first step of a run."""
        scale = jnp.asarray(_INITIAL_SCALE, jnp.float32)
        # Arrays of their own, as a buffer can't be donated twice.
        return cls(scale, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(self, finite: jax.Array) -> LossScale:
        """Compute the scale of the next step: halved on overflow, doubled after 2000 finite steps.

        Args:
            finite: () bool, whether all gradients of this step are finite.
        """
        grows = self.finite_steps + 1 >= _GROWTH_INTERVAL
        return LossScale(
            scale=self.scale * jnp.where(finite, jnp.where(grows, 2.0, 1.0), 0.5),
            finite_steps=jnp.where(finite & ~grows, self.finite_steps + 1, 0),
            overflows=jnp.where(finite, 0, self.overflows + 1),
        )


def all_finite(tree: Any) -> jax.Array:
    """Return () bool, whether all values of a pytree of arrays are finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
