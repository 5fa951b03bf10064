"""What is chosen by the kind of device: the precision of a run, and its attention.

The command line names the kinds of devices, so this module imports JAX only where it needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_pipelines.errors import UserError

if TYPE_CHECKING:
    import jax

__all__ = [
    "DEVICE_KINDS",
    "DeviceKind",
    "Precision",
    "check_attention",
    "choose_attention",
    "choose_precision",
]

_ATTENTION = ("auto", "xla", "blockwise", "cudnn")
_PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class DeviceKind:
    """A kind of device.

    Attributes:
        platform: `cpu`, `gpu` or `tpu`.
        capability: CUDA compute capability of a GPU, such as (8, 0); (0, 0) for other devices.
    """

    platform: str
    capability: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, device: jax.Device) -> DeviceKind:
        """Return the kind of a device."""
        major, _, minor = str(getattr(device, "compute_capability", "0.0")).partition(".")
        is_cuda = device.platform == "gpu" and major.isdigit() and minor.isdigit()  # not ROCm's
        return cls(device.platform, (int(major), int(minor)) if is_cuda else (0, 0))

    @property
    def has_bfloat16(self) -> bool:
        """Whether it multiplies matrices of bfloat16 natively, and has cuDNN's flash attention."""
        return self.platform == "tpu" or self.capability >= (8, 0)


# Those that a run can be described for without having one.
DEVICE_KINDS = {
    "v100": DeviceKind("gpu", (7, 0)),
    "a100": DeviceKind("gpu", (8, 0)),
    "h100": DeviceKind("gpu", (9, 0)),
}


@dataclass(frozen=True)
class Precision:
    """The dtype of each kind of arithmetic in a run.

    Attributes:
        compute: Of matrix products, convolutions and activations.
        parameters: Of parameters and the state of the optimizer.
        reductions: Of gradients, when they are accumulated and summed over devices.
        softmax: Of attention weights until they are normalised.
        norms: Of the statistics of normalisation layers.
        losses: Of logits, losses and metrics.
    """

    compute: str
    parameters: str = "float32"
    reductions: str = "float32"
    softmax: str = "float32"
    norms: str = "float32"
    losses: str = "float32"

    @property
    def dtype(self) -> Any:
        """The dtype of a network's activations."""
        import jax.numpy as jnp

        return jnp.dtype(self.compute)

    @property
    def scales_loss(self) -> bool:
        """Whether the loss is scaled, because small gradients underflow."""
        return self.compute == "float16"


def choose_precision(name: str, device: DeviceKind) -> Precision:
    """Choose the precision of a run.

    `auto` is bfloat16 on TPUs and on GPUs of compute capability 8.0 or higher, float16 on GPUs with
    tensor cores for float16 only (7.0 and 7.5: V100, TITAN V, T4, Quadro RTX), and float32 on older
    GPUs and on CPUs.

    Args:
        name: `auto`, `float32`, `bfloat16` or `float16`.
        device: The device to run on.

    Raises:
        UserError: If there is no such precision.
    """
    _check_name("precision", name, _PRECISIONS)
    if name != "auto":
        return Precision(name)
    if device.has_bfloat16:
        return Precision("bfloat16")
    return Precision("float16" if device.capability >= (7, 0) else "float32")


def choose_attention(name: str, compute: str, device: DeviceKind) -> str:
    """Choose the implementation of attention.

    `auto` and `cudnn` are `cudnn`, flash attention, where it is available. Elsewhere they are
    `auto`: `blockwise` for long sequences and `xla` for others (`models.layers.attention`), so that
    a checkpoint can be used on any device.

    Args:
        name: `auto`, `xla`, `blockwise` or `cudnn`.
        compute: The dtype of activations.
        device: The device to run on.

    Raises:
        UserError: If there is no such implementation.
    """
    _check_name("model.backbone.attention", name, _ATTENTION)
    if name not in ("auto", "cudnn"):
        return name
    available = device.platform == "gpu" and device.has_bfloat16 and compute != "float32"
    return "cudnn" if available else "auto"


def check_attention(name: str, compute: str, device: DeviceKind) -> None:
    """Check that an implementation of attention is available, before a run is trained with it.

    Args:
        name: See `choose_attention`.
        compute: The dtype of activations.
        device: The device to run on.

    Raises:
        UserError: If it is not available.
    """
    if name == "cudnn" and choose_attention(name, compute, device) != "cudnn":
        raise UserError(
            f"config.model.backbone.attention: found cudnn, with {compute} on a {device.platform}; "
            "expected bfloat16 or float16 on a GPU of compute capability 8.0 or higher: use auto"
        )


def _check_name(field: str, name: str, choices: tuple[str, ...]) -> None:
    if name not in choices:
        raise UserError(f"config.{field}: found {name!r}; expected one of {', '.join(choices)}")
