"""Every test sees eight devices: fake ones, on a CPU."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """The embedded datasets at their tiniest: 48, 80, … pictures of 32 × 32 pixels."""
    from data_pipelines.build import build

    folder = tmp_path_factory.mktemp("data")
    for name in ("demo_tiles", "demo_scenes", "demo_aerial", "demo_objects"):
        build(f"{name}/tiny", folder)
    return folder
