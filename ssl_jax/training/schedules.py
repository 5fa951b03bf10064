"""Learning-rate schedules: a linear warm-up, then a decay.

A schedule is a pytree of numbers, which the compiled step takes as an argument: runs that differ
only in their length or in the learning rate share a program.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.struct
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from data_pipelines.errors import UserError

__all__ = ["Schedule", "cosine", "polynomial"]


class Schedule(flax.struct.PyTreeNode):
    """The learning rate by step.

    Attributes:
        peak: Learning rate at the end of the warm-up.
        final: Learning rate at the end of the decay, and afterwards.
        warmup_steps: Number of steps of the warm-up, which starts at 0.
        decay_steps: Number of steps of the decay.
        power: Exponent of a polynomial decay.
        decay: Function from the progress of the decay, 0 to 1, and the power to the fraction of the
            learning rate that is left, 1 to 0.
    """

    peak: np.float32 | Array
    final: np.float32 | Array
    warmup_steps: np.float32 | Array
    decay_steps: np.float32 | Array
    power: np.float32 | Array
    decay: Callable[[Array, np.float32 | Array], Array] = flax.struct.field(pytree_node=False)

    def __call__(self, step: ArrayLike) -> Array:
        """Compute the learning rate of a step, counted from 0."""
        step = jnp.asarray(step, jnp.float32)
        rising = self.peak * (step / jnp.maximum(self.warmup_steps, 1))
        progress = jnp.clip((step - self.warmup_steps) / self.decay_steps, 0, 1)
        falling = self.final + (self.peak - self.final) * self.decay(progress, self.power)
        return jnp.where(step < self.warmup_steps, rising, falling)


def cosine(peak: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0) -> Schedule:
    """Linear warm-up from 0, then a half-cosine decay, updated at every step.

    Args:
        peak: Learning rate at the end of the warm-up.
        steps: Number of steps of the run, warm-up included.
        warmup_steps: Number of steps of the warm-up.
        final_fraction: Fraction of the peak that the decay ends at.

    Raises:
        UserError: If the warm-up is not shorter than the run.
    """
    return _make_schedule(_half_cosine, peak, steps, warmup_steps, final_fraction)


def polynomial(
    peak: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0, power: float = 0.9
) -> Schedule:
    """Linear warm-up from 0, then a decay by `(1 - progress) ** power`.

    Args:
        peak: Learning rate at the end of the warm-up.
        steps: Number of steps of the run, warm-up included.
        warmup_steps: Number of steps of the warm-up.
        final_fraction: Fraction of the peak that the decay ends at.
        power: Exponent of the decay.

    Raises:
        UserError: If the warm-up is not shorter than the run.
    """
    return _make_schedule(_power_of_rest, peak, steps, warmup_steps, final_fraction, power)


def _half_cosine(progress: Array, power: np.float32 | Array) -> Array:
    return 0.5 * (1 + jnp.cos(jnp.pi * progress))


def _power_of_rest(progress: Array, power: np.float32 | Array) -> Array:
    return (1 - progress) ** power


def _make_schedule(
    decay: Callable[[Array, np.float32 | Array], Array],
    peak: float,
    steps: int,
    warmup_steps: int,
    final_fraction: float,
    power: float = 1.0,
) -> Schedule:
    if warmup_steps >= steps > 0 and warmup_steps > 0:
        raise UserError(
            f"config.schedule: found a warm-up of {warmup_steps} steps in a run of {steps} steps; "
            "expected a warm-up shorter than the run; lower warmup_epochs or warmup_steps"
        )
    return Schedule(
        peak=np.float32(peak),
        final=np.float32(final_fraction * peak),
        warmup_steps=np.float32(warmup_steps),
        decay_steps=np.float32(max(steps - warmup_steps, 1)),
        power=np.float32(power),
        decay=decay,
    )
