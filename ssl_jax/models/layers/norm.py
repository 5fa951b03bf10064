"""Normalisation layers: batch norm over the batch, or group norm within each example."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
from jax.typing import DTypeLike

_GROUP_SIZE = 16  # channels; Wu & He 2018, table 3


def make_norm(
    kind: str, channels: int, train: bool, dtype: DTypeLike, name: str | None = None, **options: Any
) -> nn.Module:
    """Create a normalisation layer for arrays (B, ..., channels).

    Batch norm uses the batches of all devices (the mesh axis `data`), and running averages in
    evaluation. Unlike PyTorch's, the running variance is the biased one. Group norm does not couple
    examples. The size of its groups is the greatest common divisor of 16 and `channels`. Both have
    an epsilon of 1e-5.

    Args:
        kind: `batch` or `group`.
        channels: Number of channels.
        train: Whether batch norm uses the batch's statistics rather than the running averages.
        dtype: Dtype of the computations.
        name: Name of the layer.
        **options: Further arguments of the layer.

    Returns:
        The layer.
    """
    options = {"epsilon": 1e-5, "dtype": dtype, "name": name} | options
    if kind == "batch":
        return nn.BatchNorm(
            use_running_average=not train, axis_name="data", momentum=0.9, **options
        )
    return nn.GroupNorm(num_groups=None, group_size=math.gcd(_GROUP_SIZE, channels), **options)


def check_choice(field: str, value: str, *choices: str) -> None:
    """Check that the value of a field is one of its choices.

    Args:
        field: Name of the field, for the error message.
        value: Value of the field.
        *choices: Valid values.

    Raises:
        ValueError: If the value is none of them.
    """
    if value not in choices:
        raise ValueError(f"{field}: found {value!r}; expected one of {', '.join(choices)}")
