"""Learning rates by step: a linear warm-up, then a decay."""

import optax

from data_pipelines.errors import UserError

__all__ = ["cosine", "polynomial"]


def cosine(
    peak: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0
) -> optax.Schedule:
    """Linear warm-up from 0, then half a cosine down to `final_fraction` of the peak, per step."""
    return _after_warmup(
        optax.cosine_decay_schedule(peak, max(steps - warmup_steps, 1), final_fraction),
        peak,
        steps,
        warmup_steps,
    )


def polynomial(
    peak: float, steps: int, warmup_steps: int = 0, final_fraction: float = 0.0, power: float = 0.9
) -> optax.Schedule:
    """Linear warm-up from 0, then `(1 - progress) ** power` down to the final fraction."""
    return _after_warmup(
        optax.polynomial_schedule(peak, final_fraction * peak, power, max(steps - warmup_steps, 1)),
        peak,
        steps,
        warmup_steps,
    )


def _after_warmup(
    decay: optax.Schedule, peak: float, steps: int, warmup_steps: int
) -> optax.Schedule:
    if warmup_steps >= steps > 0 and warmup_steps > 0:
        raise UserError(
            f"config.schedule: a warm-up of {warmup_steps} steps in a run of {steps}; "
            "expected it to be shorter than the run: lower warmup_epochs or warmup_steps"
        )
    if not warmup_steps:
        return decay
    warmup = optax.linear_schedule(0.0, peak, warmup_steps)
    return optax.join_schedules([warmup, decay], [warmup_steps])
