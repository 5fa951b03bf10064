"""The choice of normalisation: over the batch, or within each example."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
from jax.typing import DTypeLike

_GROUP_SIZE = 16  # channels; Wu & He 2018, table 3


def make_norm(
    kind: str, channels: int, train: bool, dtype: DTypeLike, name: str | None = None, **options: Any
) -> nn.Module:
    """A layer that normalises (B, ..., channels).

    `batch`: batch norm over the batches of all devices (the mesh axis `data`), with running
    averages in evaluation. `group`: group norm, in which no example sees another. Its groups have
    16 channels, or as many as go into both 16 and `channels`. Both have eps 1e-5; `options` are
    the layer's.

    Unlike PyTorch's, the running variance is the biased one.
    """
    options = {"epsilon": 1e-5, "dtype": dtype, "name": name} | options
    if kind == "batch":
        return nn.BatchNorm(
            use_running_average=not train, axis_name="data", momentum=0.9, **options
        )
    return nn.GroupNorm(num_groups=None, group_size=math.gcd(_GROUP_SIZE, channels), **options)


def check_choice(field: str, found: str, *choices: str) -> None:
    """Refuse a value that isn't among a field's choices.

    Raises:
        ValueError: it is none of them.
    """
    if found not in choices:
        raise ValueError(f"{field}: found {found!r}; expected one of {', '.join(choices)}")
