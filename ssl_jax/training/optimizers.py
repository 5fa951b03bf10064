"""LARS, AdamW and SGD as Optax chains over parameter groups.

A sequence of `ParameterGroup`s says which parameters decay, adapt, have a scaled learning rate or
are frozen; every optimizer takes one. `assign_groups` checks that each parameter matches exactly
one group, and `describe_groups` lists the groups and their sizes. The learning rate by step is an
argument of the update: `optimizer.update(gradients, state, params, schedule=schedule)`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssl_jax.devices.pytrees import parameter_path

__all__ = [
    "ParameterGroup",
    "adamw",
    "add_frozen_group",
    "assign_groups",
    "decay_weights_only",
    "describe_groups",
    "freeze_groups",
    "lars",
    "layer_decay_groups",
    "sgd",
    "single_group",
]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that an optimizer treats alike.

    Attributes:
        name: Name of the group in listings.
        pattern: Regular expression that must match the whole path of a parameter, such as
            `backbone/conv1/kernel`.
        decays: Whether weight decay (and, in LARS, the trust ratio) applies.
        scale: Factor of the learning rate; 0 freezes the parameters.
    """

    name: str
    pattern: str
    decays: bool
    scale: float = 1.0


_ONE_DIMENSIONAL = r"(.*/)?(bias|scale)"
_EMBEDDING = r"backbone/(patch_embed/.*|cls_token|pos_embed)"


def single_group() -> tuple[ParameterGroup, ...]:
    """Return one group in which all parameters decay, as in PyTorch with `model.parameters()`."""
    return (ParameterGroup("all", r".*", decays=True),)


def decay_weights_only() -> tuple[ParameterGroup, ...]:
    """Return groups in which biases and normalisation parameters (1-D) neither decay nor adapt.

    As in SimCLR, whose LARS excludes `batch_normalization` and `bias`, and in MAE's pretraining
    (timm's `add_weight_decay`), where the class token and the mask token do decay.
    """
    return _split_by_decay("biases and norms", _ONE_DIMENSIONAL)


def layer_decay_groups(decay: float, depth: int) -> tuple[ParameterGroup, ...]:
    """Return groups of a ViT whose learning rates decrease with the distance from the head.

    Layer 0 is the embedding, layer i + 1 is block i, and layer depth + 1 is everything after the
    blocks. The learning rate of layer l is scaled by `decay ** (depth + 1 - l)`, as in
    `param_groups_lrd` of facebookresearch/mae and in BEiT (Bao et al. 2022). As there, the class
    token and the position embedding don't decay, unlike in pretraining. mmsegmentation intends the
    same, but looks for `cls_token` where the name is `backbone.cls_token`, so that both decay.

    Args:
        decay: Ratio of the learning rates of two successive layers.
        depth: Number of blocks.
    """
    layers = [("embedding", _EMBEDDING)]
    layers += [(f"block {i}", rf"backbone/blocks_{i}/.*") for i in range(depth)]
    layers += [("head", rf"(?!{_EMBEDDING}$)(?!backbone/blocks_).*")]
    without_decay = rf"{_ONE_DIMENSIONAL}|backbone/(cls_token|pos_embed)"
    kinds = _split_by_decay("biases, norms and positions", without_decay)
    return tuple(
        ParameterGroup(
            f"{name}, {kind.name}",
            rf"(?=({kind.pattern})$){pattern}",
            kind.decays,
            decay ** (depth + 1 - index),
        )
        for index, (name, pattern) in enumerate(layers)
        for kind in kinds
    )


def _split_by_decay(name: str, pattern: str) -> tuple[ParameterGroup, ...]:
    """Return the group `name` of parameters without decay, and the group of all others."""
    return (
        ParameterGroup(name, pattern, decays=False),
        ParameterGroup("weights", rf"(?!({pattern})$).*", decays=True),
    )


def add_frozen_group(groups: Sequence[ParameterGroup], pattern: str) -> tuple[ParameterGroup, ...]:
    """Add a group of frozen parameters, and exclude its parameters from the other groups.

    Args:
        groups: The groups of all parameters.
        pattern: Regular expression that matches the whole paths of the parameters to freeze.
    """
    others = (replace(group, pattern=rf"(?!({pattern})$)({group.pattern})") for group in groups)
    return (ParameterGroup("frozen", pattern, decays=False, scale=0.0), *others)


def assign_groups(params: Any, groups: Sequence[ParameterGroup]) -> Any:
    """Find the group of each parameter.

    Args:
        params: Pytree of parameters.
        groups: The groups of all parameters.

    Returns:
        A pytree like `params` whose leaves are groups.

    Raises:
        ValueError: If a parameter matches no group, or more than one.
    """

    def find_group(path: tuple[Any, ...], _: Any) -> ParameterGroup:
        name = parameter_path(path)
        matching = [group for group in groups if re.fullmatch(group.pattern, name)]
        if len(matching) != 1:
            names = [group.name for group in matching] or "none"
            raise ValueError(f"parameter {name}: found groups {names}; expected exactly one")
        return matching[0]

    return jax.tree_util.tree_map_with_path(find_group, params)


def describe_groups(params: Any, groups: Sequence[ParameterGroup]) -> str:
    """Describe the groups in a line each: decay, scale, and numbers of tensors and parameters.

    Args:
        params: Pytree of parameters, or of shapes as `jax.eval_shape` returns them.
        groups: The groups of all parameters.
    """
    assigned = jax.tree.leaves(assign_groups(params, groups), is_leaf=_is_group)
    sizes = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)]
    lines = []
    for group in groups:
        members = [size for other, size in zip(assigned, sizes, strict=True) if other == group]
        decay = "decays" if group.decays else "no decay"
        treatment = f"{decay}, ×{group.scale:.4g}" if group.scale else "frozen"
        lines.append(
            f"{group.name}: {treatment}, {len(members)} tensors, {sum(members):,} parameters"
        )
    return "\n".join(lines)


def _is_group(leaf: Any) -> bool:
    return isinstance(leaf, ParameterGroup)


def _make_decay_mask(groups: Sequence[ParameterGroup]) -> Callable[[Any], Any]:
    """Make a function from parameters to a pytree that is true where they decay."""

    def mask(params: Any) -> Any:
        return _map_groups(lambda group: group.decays, assign_groups(params, groups))

    return mask


def _map_groups(function: Callable[[ParameterGroup], Any], assigned: Any) -> Any:
    return jax.tree.map(function, assigned, is_leaf=_is_group)


def _scale_by_group(groups: Sequence[ParameterGroup]) -> optax.GradientTransformation:
    def update(updates: Any, params: Any = None) -> Any:
        scales = _map_groups(lambda group: group.scale, assign_groups(updates, groups))
        return jax.tree.map(lambda u, s: u if s == 1.0 else s * u, updates, scales)

    return optax.stateless(update)


def _scale_by_schedule() -> optax.GradientTransformationExtraArgs:
    """Scale updates by the negative learning rate, which the argument `schedule` gives by step.

    Like `optax.scale_by_learning_rate`, whose state it has, but for a schedule that is not part of
    the program.
    """

    def init(params: Any) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(
        updates: Any,
        state: optax.ScaleByScheduleState,
        params: Any = None,
        *,
        schedule: optax.Schedule,
        **extra_args: Any,
    ) -> tuple[Any, optax.ScaleByScheduleState]:
        rate = -schedule(state.count)
        updates = jax.tree.map(lambda update: jnp.asarray(rate, update.dtype) * update, updates)
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


def lars(
    groups: Sequence[ParameterGroup] = decay_weights_only(),
    weight_decay: float = 1e-6,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
) -> optax.GradientTransformationExtraArgs:
    """LARS as in google-research/simclr (You et al. 2017; SimCLR, section 2.2).

    The learning rate is applied before the momentum. Parameters without decay are not adapted by
    the trust ratio either.

    Args:
        groups: The groups of all parameters.
        weight_decay: Weight decay, added to the gradients.
        momentum: Momentum coefficient.
        trust_coefficient: Factor of the trust ratio.
    """
    mask = _make_decay_mask(groups)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), mask),
        _scale_by_group(groups),
        _scale_by_schedule(),
        optax.trace(momentum),
    )


def adamw(
    groups: Sequence[ParameterGroup] = decay_weights_only(),
    weight_decay: float = 0.05,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """AdamW (Loshchilov & Hutter 2019), decay and learning rate scaled by group as in PyTorch.

    Args:
        groups: The groups of all parameters.
        weight_decay: Weight decay, multiplied by the learning rate.
        b1: Decay rate of the first moment.
        b2: Decay rate of the second moment.
        eps: Added to the square root of the second moment.
    """
    return optax.chain(
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, _make_decay_mask(groups)),
        _scale_by_group(groups),
        _scale_by_schedule(),
    )


def sgd(
    groups: Sequence[ParameterGroup] = single_group(),
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """SGD as in PyTorch: decay is added to the gradients, the learning rate applied last.

    By default biases and normalisation parameters decay too, as in mmsegmentation's recipes, which
    pass all parameters to PyTorch's optimizer as one group.

    Args:
        groups: The groups of all parameters.
        weight_decay: Weight decay, added to the gradients.
        momentum: Momentum coefficient.
        nesterov: Whether to use Nesterov momentum.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, _make_decay_mask(groups)),
        optax.trace(momentum, nesterov),
        _scale_by_group(groups),
        _scale_by_schedule(),
    )


def freeze_groups(
    optimizer: optax.GradientTransformationExtraArgs, groups: Sequence[ParameterGroup]
) -> optax.GradientTransformationExtraArgs:
    """Freeze the parameters in groups of scale 0; they get no optimizer state.

    Args:
        optimizer: Updates all other parameters.
        groups: The groups of all parameters.
    """

    def label(params: Any) -> Any:
        return _map_groups(
            lambda group: "trained" if group.scale else "frozen", assign_groups(params, groups)
        )

    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, label)
