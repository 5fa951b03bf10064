"""Optax chains: LARS, AdamW and SGD over parameter groups chosen by regex.

Which parameters decay, adapt, learn more slowly or stay as they are is one table of
`ParameterGroup`s, which
every optimizer takes; `assign_groups` asserts that every parameter matches exactly one, and
`describe_groups`
prints who went where.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
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
    """Parameters that are treated alike.

    Attributes:
        name: what the group is called when it is listed.
        pattern: regex that must match the whole path, such as `backbone/conv1/kernel`.
        decays: whether weight decay (and, for LARS, the trust ratio) applies.
        scale: factor on the learning rate; at 0 the parameters stay as they are.
    """

    name: str
    pattern: str
    decays: bool
    scale: float = 1.0


_ONE_DIMENSIONAL = r"(.*/)?(bias|scale)"
_EMBEDDING = r"backbone/(patch_embed/.*|cls_token|pos_embed)"


def single_group() -> tuple[ParameterGroup, ...]:
    """Everything decays, as where PyTorch's optimizers are given `model.parameters()`."""
    return (ParameterGroup("all", r".*", decays=True),)


def decay_weights_only() -> tuple[ParameterGroup, ...]:
    """Biases and normalisation parameters (the 1-D ones) neither decay nor adapt; the rest do.

    So it is in SimCLR, whose LARS leaves out `batch_normalization` and `bias`, and in MAE's
    pretraining (`add_weight_decay` of timm), where the class and the mask token do decay.
    """
    return _weights_and("biases and norms", _ONE_DIMENSIONAL)


def layer_decay_groups(decay: float, depth: int) -> tuple[ParameterGroup, ...]:
    """Learning rates that fall with the distance from the head of a ViT of `depth` blocks.

    Layer 0 is the embedding, layer i + 1 block i, layer depth + 1 everything after the blocks; a
    parameter of layer l learns with `decay ** (depth + 1 - l)`: `param_groups_lrd` of
    facebookresearch/mae, and BEiT (Bao et al. 2022). As there, the class token and the positions
    don't decay, unlike in pretraining. mmsegmentation means the same, but looks for `cls_token`
    where the name is `backbone.cls_token`, and so lets both decay.
    """
    layers = [("embedding", _EMBEDDING)]
    layers += [(f"block {i}", rf"backbone/blocks_{i}/.*") for i in range(depth)]
    layers += [("head", rf"(?!{_EMBEDDING}$)(?!backbone/blocks_).*")]
    without_decay = rf"{_ONE_DIMENSIONAL}|backbone/(cls_token|pos_embed)"
    kinds = _weights_and("biases, norms and positions", without_decay)
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


def _weights_and(name: str, pattern: str) -> tuple[ParameterGroup, ...]:
    """What matches the pattern doesn't decay, the rest does."""
    return (
        ParameterGroup(name, pattern, decays=False),
        ParameterGroup("weights", rf"(?!({pattern})$).*", decays=True),
    )


def add_frozen_group(groups: Sequence[ParameterGroup], pattern: str) -> tuple[ParameterGroup, ...]:
    """`groups` without the parameters that match `pattern`, which are a group that stays."""
    others = (replace(g, pattern=rf"(?!({pattern})$)({g.pattern})") for g in groups)
    return (ParameterGroup("frozen", pattern, decays=False, scale=0.0), *others)


def assign_groups(params: Any, groups: Sequence[ParameterGroup]) -> Any:
    """The tree of each parameter's group.

    Raises:
        ValueError: a parameter matches no group, or more than one.
    """

    def find(path: tuple[Any, ...], _: Any) -> ParameterGroup:
        name = parameter_path(path)
        matching = [group for group in groups if re.fullmatch(group.pattern, name)]
        if len(matching) != 1:
            found = [group.name for group in matching] or "none"
            raise ValueError(f"parameter {name} must fall in exactly one group, found: {found}")
        return matching[0]

    return jax.tree_util.tree_map_with_path(find, params)


def describe_groups(params: Any, groups: Sequence[ParameterGroup]) -> str:
    """A line per group: its name, decay, scale, and how many tensors and parameters it holds.

    `params` may be shapes alone, as `jax.eval_shape` gives them.
    """
    found = jax.tree.leaves(
        assign_groups(params, groups), is_leaf=lambda x: isinstance(x, ParameterGroup)
    )
    sizes = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)]
    lines = []
    for group in groups:
        members = [n for g, n in zip(found, sizes, strict=True) if g == group]
        decay = "decays" if group.decays else "no decay"
        treatment = f"{decay}, ×{group.scale:.4g}" if group.scale else "stays as it is"
        lines.append(
            f"{group.name}: {treatment}, {len(members)} tensors, {sum(members):,} parameters"
        )
    return "\n".join(lines)


def _decays(groups: Sequence[ParameterGroup]) -> Any:
    def mask(params: Any) -> Any:
        return _attribute(assign_groups(params, groups), "decays")

    return mask


def _attribute(groups: Any, name: str) -> Any:
    return jax.tree.map(
        lambda g: getattr(g, name), groups, is_leaf=lambda x: isinstance(x, ParameterGroup)
    )


def _scale_by_group(groups: Sequence[ParameterGroup]) -> optax.GradientTransformation:
    def update(updates: Any, params: Any = None) -> Any:
        scales = _attribute(assign_groups(updates, groups), "scale")
        return jax.tree.map(lambda u, s: u if s == 1.0 else s * u, updates, scales)

    return optax.stateless(update)


def lars(
    schedule: optax.Schedule,
    groups: Sequence[ParameterGroup] = decay_weights_only(),
    weight_decay: float = 1e-6,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
) -> optax.GradientTransformation:
    """LARS as google-research/simclr has it (You et al. 2017; SimCLR, section 2.2).

    The learning rate is applied inside the momentum; what doesn't decay doesn't adapt either.
    """
    mask = _decays(groups)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient), mask),
        _scale_by_group(groups),
        optax.scale_by_learning_rate(schedule),
        optax.trace(momentum),
    )


def adamw(
    schedule: optax.Schedule,
    groups: Sequence[ParameterGroup] = decay_weights_only(),
    weight_decay: float = 0.05,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019), decay and learning rate scaled by group as in PyTorch."""
    return optax.chain(
        optax.scale_by_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, _decays(groups)),
        _scale_by_group(groups),
        optax.scale_by_learning_rate(schedule),
    )


def sgd(
    schedule: optax.Schedule,
    groups: Sequence[ParameterGroup] = single_group(),
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """SGD as in PyTorch: decay joins the gradient, momentum before the learning rate.

    By default biases and norms decay too, as in mmsegmentation's recipes, which give PyTorch's
    optimizer all parameters as one group.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, _decays(groups)),
        optax.trace(momentum, nesterov),
        _scale_by_group(groups),
        optax.scale_by_learning_rate(schedule),
    )


def freeze_groups(
    optimizer: optax.GradientTransformation, groups: Sequence[ParameterGroup]
) -> optax.GradientTransformation:
    """Leave parameters of groups of scale 0 as they are; they get no optimizer state."""

    def label(params: Any) -> Any:
        return jax.tree.map(
            lambda group: "trained" if group.scale else "frozen",
            assign_groups(params, groups),
            is_leaf=lambda x: isinstance(x, ParameterGroup),
        )

    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, label)
