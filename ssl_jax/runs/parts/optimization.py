"""From a config to the length of a run, its optimizer and its learning rate by step."""

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

_OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "lars": optimizers.lars,
    "adamw": optimizers.adamw,
    "sgd": optimizers.sgd,
}
_SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "cosine": schedules.cosine,
    "polynomial": schedules.polynomial,
}


def count_steps(config: ConfigDict, examples: int) -> int:
    """Steps of the whole run: `config.steps`, or as many as `config.epochs` takes."""
    if bool(config.steps) == bool(config.epochs):
        raise UserError(
            f"config.steps is {config.steps} and config.epochs {config.epochs}; "
            "expected one of them to be 0: the run is as long as the other says"
        )
    return config.steps or max(1, round(config.epochs * (examples // config.batch_size)))


def make_optimizer(
    config: ConfigDict, total_steps: int, examples: int, goal: objectives.Objective
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a run of `total_steps`, and its learning rate by step.

    `examples` are those of an epoch, for a warm-up given in epochs. A frozen backbone stays.
    """
    section = config.optimizer.to_dict()
    peak = section.pop("learning_rate")
    reference_batch = section.pop("reference_batch", 0)
    if reference_batch:
        peak *= config.batch_size / reference_batch
    section.pop("layer_decay", None)
    schedule = _schedule(config, peak, total_steps, examples)
    constructor = choose(_OPTIMIZERS, section, "optimizer")
    groups = make_parameter_groups(config, goal)
    chain = construct(constructor, section, "optimizer", schedule=schedule, groups=groups)
    frozen = any(group.scale == 0 for group in groups)
    return (optimizers.freeze_groups(chain, groups) if frozen else chain), schedule


def make_parameter_groups(
    config: ConfigDict, goal: objectives.Objective
) -> tuple[optimizers.ParameterGroup, ...]:
    """The groups that the parameters of a run fall into, as `optimizers.describe_groups` prints
    them.

    Those of its layer decay, or else its optimizer's own; what is frozen is a group by itself.
    """
    constructor = choose(_OPTIMIZERS, config.optimizer, "optimizer")
    groups = inspect.signature(constructor).parameters["groups"].default
    layer_decay = config.optimizer.get("layer_decay", 1.0)
    if layer_decay != 1.0:
        depth = getattr(make_backbone(config), "depth", 0)
        if not depth:
            raise UserError(
                f"config.optimizer.layer_decay: found {layer_decay}, but the backbone has no "
                "blocks; expected 1.0, or a ViT"
            )
        groups = optimizers.layer_decay_groups(layer_decay, depth)
    if isinstance(goal, objectives.Classification) and goal.frozen:
        groups = optimizers.add_frozen_group(groups, r"backbone/.*")
    return groups


def _schedule(config: ConfigDict, peak: float, total_steps: int, examples: int) -> optax.Schedule:
    section = config.schedule.to_dict()
    epochs, warmup_steps = section.pop("warmup_epochs", 0.0), section.pop("warmup_steps", 0)
    if epochs and warmup_steps:
        raise UserError(
            f"config.schedule: both warmup_epochs {epochs} and warmup_steps {warmup_steps} are "
            "given; expected one of them to be 0"
        )
    warmup_steps = warmup_steps or round(epochs * (examples // config.batch_size))
    constructor = choose(_SCHEDULES, section, "schedule")
    return construct(
        constructor, section, "schedule", peak=peak, steps=total_steps, warmup_steps=warmup_steps
    )
