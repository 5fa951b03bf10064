import os

import jax
import pytest

from data_pipelines.errors import UserError
from ssl_jax import train
from ssl_jax.devices.determinism import check_determinism

CONFIG = "configs/transfer/nasc_mlp.py"


class Gpu:
    platform = "gpu"


def describe(*overrides):
    arguments = ["--config", CONFIG, "--config.data.data_dir=nowhere", *overrides]
    assert train.main([*arguments, "--describe"]) == 0


def test_a_command_asks_xla_for_determinism_before_devices_are_found(monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=")
    describe()
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to="
    for _ in range(2):
        describe("--config.deterministic=True")
        assert os.environ["XLA_FLAGS"] == "--xla_dump_to= --xla_gpu_deterministic_ops=true"


def test_a_gpu_without_the_flag_is_an_error(monkeypatch):
    check_determinism()  # a CPU is deterministic
    monkeypatch.setattr(jax, "devices", lambda: [Gpu()])
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    check_determinism()
    monkeypatch.delenv("XLA_FLAGS")
    with pytest.raises(UserError, match=r"config.deterministic: .*--xla_gpu_deterministic"):
        check_determinism()
