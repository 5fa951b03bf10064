"""Learning-rate schedules: a linear warm-up, then a decay."""

import optax

from data_pipelines.errors import UserError

__all__ = ["cosine", "polynomial"]


def cosine(
    peak: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0
) -> optax.Schedule:
    """Linear warm-up from 0, then a half-cosine decay, updated at every step.

    Args:
        peak: Learning rate at the end of the warm-up.
        steps: Number of steps of the run, warm-up included.
        warmup_steps: Number of steps of the warm-up.
        final_fraction: Fraction of the peak that the decay ends at.

    Raises:
        UserError: If the warm-up is not shorter than the run.
    """
    return _add_warmup(
        optax.cosine_decay_schedule(peak, max(steps - warmup_steps, 1), final_fraction),
        peak,
        steps,
        warmup_steps,
    )


def polynomial(
    peak: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0, power: float = 0.9
) -> optax.Schedule:
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
    return _add_warmup(
        optax.polynomial_schedule(peak, final_fraction * peak, power, max(steps - warmup_steps, 1)),
        peak,
        steps,
        warmup_steps,
    )


def _add_warmup(
    decay: optax.Schedule, peak: float, steps: int, warmup_steps: int
) -> optax.Schedule:
    if warmup_steps >= steps > 0 and warmup_steps > 0:
        raise UserError(
            f"config.schedule: found a warm-up of {warmup_steps} steps in a run of {steps} steps; "
            "expected a warm-up shorter than the run; lower warmup_epochs or warmup_steps"
        )
    if not warmup_steps:
        return decay
    warmup = optax.linear_schedule(0.0, peak, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])
