"""The number of steps of a run, its optimizer and its learning rate schedule, from its config."""

import inspect
from collections.abc import Callable

import optax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from ssl_jax import objectives
from ssl_jax.runs.parts.construct import choose, construct
from ssl_jax.runs.parts.networks import make_backbone
from ssl_jax.training import optimizers, schedules

__all__ = ["count_steps", "make_optimizer", "make_parameter_groups"]

_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    "lars": optimizers.lars,
    "adamw": optimizers.adamw,
    "sgd": optimizers.sgd,
}
_SCHEDULES: dict[str, Callable[..., schedules.Schedule]] = {
    "cosine": schedules.cosine,
    "polynomial": schedules.polynomial,
}


def count_steps(config: ConfigDict, num_examples: int) -> int:
    """Compute the number of steps of a run from `config.steps` or `config.epochs`.

    Args:
        config: The config.
        num_examples: Number of examples in an epoch.

    Raises:
        UserError: If both or neither of the fields are 0.
    """
    if bool(config.steps) == bool(config.epochs):
        raise UserError(
            f"config.steps: found {config.steps}, and {config.epochs} in config.epochs; expected "
            "one of them to be 0 and the other to be the length of the run"
        )
    return config.steps or max(1, round(config.epochs * (num_examples // config.batch_size)))


def make_optimizer(
    config: ConfigDict, total_steps: int, num_examples: int, objective: objectives.Objective
) -> tuple[optax.GradientTransformationExtraArgs, schedules.Schedule]:
    """Build the optimizer and the learning rate schedule of a run.

    Args:
        config: The config.
        total_steps: Number of steps of the run.
        num_examples: Number of examples in an epoch, for a warm-up given in epochs.
        objective: The objective; if its backbone is frozen, the optimizer doesn't update it.

    Returns:
        The optimizer, and the schedule from the step to the learning rate.

    Raises:
        UserError: If the config names no optimizer or schedule, or a field is invalid.
    """
    section = config.optimizer.to_dict()
    peak = section.pop("learning_rate")
    reference_batch = section.pop("reference_batch", 0)
    if reference_batch:
        peak *= config.batch_size / reference_batch
    section.pop("layer_decay", None)
    schedule = _make_schedule(config, peak, total_steps, num_examples)
    constructor = choose(_OPTIMIZERS, section, "optimizer")
    groups = make_parameter_groups(config, objective)
    optimizer = construct(constructor, section, "optimizer", groups=groups)
    if any(group.scale == 0 for group in groups):
        optimizer = optimizers.freeze_groups(optimizer, groups)
    return optimizer, schedule


def make_parameter_groups(
    config: ConfigDict, objective: objectives.Objective
) -> tuple[optimizers.ParameterGroup, ...]:
    """Make the parameter groups of a run: those of its layer decay, or else its optimizer's own.

    The parameters of a frozen backbone are a separate group.

    Raises:
        UserError: If the config has a layer decay and its backbone has no blocks.
    """
    constructor = choose(_OPTIMIZERS, config.optimizer, "optimizer")
    groups = inspect.signature(constructor).parameters["groups"].default
    layer_decay = config.optimizer.get("layer_decay", 1.0)
    if layer_decay != 1.0:
        depth = getattr(make_backbone(config), "depth", 0)
        if not depth:
            raise UserError(
                f"config.optimizer.layer_decay: found {layer_decay}, but the backbone has no "
                "blocks; expected 1.0, or a ViT as backbone"
            )
        groups = optimizers.layer_decay_groups(layer_decay, depth)
    if isinstance(objective, objectives.Classification) and objective.frozen:
        groups = optimizers.add_frozen_group(groups, r"backbone/.*")
    return groups


def _make_schedule(
    config: ConfigDict, peak: float, total_steps: int, num_examples: int
) -> schedules.Schedule:
    section = config.schedule.to_dict()
    epochs, warmup_steps = section.pop("warmup_epochs", 0.0), section.pop("warmup_steps", 0)
    if epochs and warmup_steps:
        raise UserError(
            f"config.schedule: found both warmup_epochs {epochs} and warmup_steps {warmup_steps}; "
            "expected one of them to be 0"
        )
    warmup_steps = warmup_steps or round(epochs * (num_examples // config.batch_size))
    constructor = choose(_SCHEDULES, section, "schedule")
    return construct(
        constructor, section, "schedule", peak=peak, steps=total_steps, warmup_steps=warmup_steps
    )
