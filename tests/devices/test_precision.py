import pytest
from small_configs import make_small_config

from data_pipelines.errors import UserError
from ssl_jax.devices.precision import (
    DEVICE_KINDS,
    DeviceKind,
    choose_attention,
    choose_precision,
)
from ssl_jax.runs import parts


class Device:
    """A device as JAX describes it."""

    def __init__(self, platform, capability=None):
        self.platform = platform
        if capability:
            self.compute_capability = capability


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("V100, TITAN V", Device("gpu", "7.0"), "float16"),
        ("T4, Quadro RTX, RTX 2080", Device("gpu", "7.5"), "float16"),
        ("GTX 1080", Device("gpu", "6.1"), "float32"),
        ("A100", Device("gpu", "8.0"), "bfloat16"),
        ("RTX 2000 Ada", Device("gpu", "8.9"), "bfloat16"),
        ("B200", Device("gpu", "10.0"), "bfloat16"),
        ("MI300", Device("gpu", "gfx942"), "float32"),
        ("TPU", Device("tpu"), "bfloat16"),
        ("CPU", Device("cpu"), "float32"),
    ],
)
def test_auto_is_what_the_device_multiplies_natively(name, device, expected):
    assert choose_precision("auto", DeviceKind.of(device)).compute == expected, name


def test_a_named_precision_is_used_on_any_device():
    precision = choose_precision("bfloat16", DeviceKind("cpu"))
    assert precision.compute == "bfloat16"
    assert precision.parameters == precision.reductions == precision.losses == "float32"
    with pytest.raises(UserError, match="found 'half'; expected one of auto, float32"):
        choose_precision("half", DeviceKind("cpu"))


@pytest.mark.parametrize(
    ("name", "compute", "device", "expected"),
    [
        ("auto", "bfloat16", DEVICE_KINDS["a100"], "cudnn"),
        ("auto", "float16", DEVICE_KINDS["h100"], "cudnn"),
        ("auto", "float32", DEVICE_KINDS["h100"], "auto"),
        ("auto", "float16", DEVICE_KINDS["v100"], "auto"),
        ("auto", "bfloat16", DeviceKind("tpu"), "auto"),
        ("auto", "float32", DeviceKind("cpu"), "auto"),
        ("cudnn", "float32", DeviceKind("cpu"), "auto"),  # a checkpoint from elsewhere
        ("xla", "bfloat16", DEVICE_KINDS["h100"], "xla"),
        ("blockwise", "float32", DeviceKind("cpu"), "blockwise"),
    ],
)
def test_flash_attention_is_chosen_where_it_is_available(name, compute, device, expected):
    assert choose_attention(name, compute, device) == expected


def test_training_with_cudnn_needs_a_device_that_has_it(data_dir):
    config = make_small_config("mae", data_dir)
    config.model.backbone.attention = "cudnn"
    with pytest.raises(UserError, match="attention: found cudnn, with float32 on a cpu; expected"):
        parts.assemble_run(config)
    config.model.backbone.attention = "flash"
    with pytest.raises(UserError, match="attention: found 'flash'; expected one of auto, xla, bl"):
        parts.assemble_run(config)
