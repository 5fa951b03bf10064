"""Optax chains: LARS, AdamW and SGD over parameter groups chosen by regex, with schedules.

Which parameters decay, adapt, or learn more slowly is one table of `Group`s; `group_of` asserts
that every parameter matches exactly one, and `describe` prints who went where.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from data_pipelines.errors import UserError

__all__ = [
    "Group",
    "adamw",
    "cosine",
    "describe",
    "freeze",
    "group_of",
    "lars",
    "layer_decay_groups",
    "polynomial",
    "sgd",
    "weights_and_biases",
]


@dataclass(frozen=True)
class Group:
    """Parameters that are treated alike.

    Attributes:
        name: what the group is called when it is listed.
        pattern: regex that must match the whole path, such as `backbone/conv1/kernel`.
        decays: whether weight decay (and, for LARS, the trust ratio) applies.
        scale: factor on the learning rate.
    """

    name: str
    pattern: str
    decays: bool
    scale: float = 1.0


_ONE_DIMENSIONAL = r"bias|scale"


def weights_and_biases() -> tuple[Group, ...]:
    """Biases and normalisation parameters (the 1-D ones) neither decay nor adapt; the rest do."""
    return (
        Group("biases and norms", rf"(.*/)?({_ONE_DIMENSIONAL})", decays=False),
        Group("weights", rf"(.*/)?(?!({_ONE_DIMENSIONAL})$)[^/]+", decays=True),
    )


def layer_decay_groups(decay: float, depth: int) -> tuple[Group, ...]:
    """Learning rates that fall with the distance from the head of a ViT of `depth` blocks.

    Layer 0 is the embedding, layer i + 1 block i, layer depth + 1 everything after the blocks; a
    parameter of layer l learns with `decay ** (depth + 1 - l)`: `param_groups_lrd` of
    facebookresearch/mae, and BEiT (Bao et al. 2022).
    """
    embedding = r"backbone/(patch_embed/.*|cls_token|pos_embed)"
    layers = [("embedding", embedding)]
    layers += [(f"block {i}", rf"backbone/blocks_{i}/.*") for i in range(depth)]
    layers += [("head", rf"(?!{embedding}$)(?!backbone/blocks_).*")]
    groups = []
    for index, (name, pattern) in enumerate(layers):
        scale = decay ** (depth + 1 - index)
        for group in weights_and_biases():
            groups.append(
                Group(
                    f"{name}, {group.name}", f"(?={group.pattern}$){pattern}", group.decays, scale
                )
            )
    return tuple(groups)


def path_of(path: tuple[Any, ...]) -> str:
    """The path of a parameter as it is written in patterns: `backbone/conv1/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def group_of(params: Any, groups: Sequence[Group]) -> Any:
    """The tree of each parameter's group.

    Raises:
        ValueError: a parameter matches no group, or more than one.
    """

    def find(path: tuple[Any, ...], _: Any) -> Group:
        name = path_of(path)
        matching = [group for group in groups if re.fullmatch(group.pattern, name)]
        if len(matching) != 1:
            found = [group.name for group in matching] or "none"
            raise ValueError(f"parameter {name} must fall in exactly one group, found: {found}")
        return matching[0]

    return jax.tree_util.tree_map_with_path(find, params)


def describe(params: Any, groups: Sequence[Group]) -> str:
    """A line per group: its name, decay, scale, and how many tensors and parameters it holds."""
    found = jax.tree.leaves(group_of(params, groups), is_leaf=lambda x: isinstance(x, Group))
    sizes = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)]
    lines = []
    for group in groups:
        members = [n for g, n in zip(found, sizes, strict=True) if g == group]
        decay = "decays" if group.decays else "no decay"
        lines.append(
            f"{group.name}: {decay}, ×{group.scale:.4g}, {len(members)} tensors, "
            f"{sum(members):,} parameters"
        )
    return "\n".join(lines)


def _decays(groups: Sequence[Group]) -> Any:
    def mask(params: Any) -> Any:
        return _attribute(group_of(params, groups), "decays")

    return mask


def _attribute(groups: Any, name: str) -> Any:
    return jax.tree.map(lambda g: getattr(g, name), groups, is_leaf=lambda x: isinstance(x, Group))


def _scale_by_group(groups: Sequence[Group]) -> optax.GradientTransformation:
    def update(updates: Any, params: Any = None) -> Any:
        scales = _attribute(group_of(updates, groups), "scale")
        return jax.tree.map(lambda u, s: u if s == 1.0 else s * u, updates, scales)

    return optax.stateless(update)


def lars(
    schedule: optax.Schedule,
    weight_decay: float = 1e-6,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
) -> optax.GradientTransformation:
    """LARS as google-research/simclr has it (You et al. 2017; SimCLR, section 2.2).

    The learning rate is applied inside the momentum; batch-norm parameters and biases neither decay
    nor adapt.
    """
    mask = _decays(weights_and_biases())
    return optax.lars(
        schedule,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        trust_coefficient=trust_coefficient,
        trust_ratio_mask=mask,
        momentum=momentum,
    )


def adamw(
    schedule: optax.Schedule,
    groups: Sequence[Group] = weights_and_biases(),
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
    schedule: optax.Schedule, weight_decay: float = 0.0, momentum: float = 0.9
) -> optax.GradientTransformation:
    """SGD as in PyTorch: decay joins the gradient, momentum before the learning rate."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, _decays(weights_and_biases())),
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(schedule),
    )


def freeze(optimizer: optax.GradientTransformation, pattern: str) -> optax.GradientTransformation:
    """Leave parameters whose path matches `pattern` as they are; they get no optimizer state."""

    def label(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "frozen" if re.fullmatch(pattern, path_of(path)) else "trained", params
        )

    return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, label)


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
