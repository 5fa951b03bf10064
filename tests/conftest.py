"""Every test sees eight devices: fake ones, on a CPU.

Tests compile far more than they compute, so programs are optimised little and compiled only once.
"""

import os
import tempfile
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# Set, if only to nothing, where a test trains for longer than it compiles (tests/realdata).
os.environ.setdefault(
    "XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(tempfile.gettempdir(), "ssl_jax_tests_xla"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """The embedded datasets at their tiniest: 48, 80, … pictures of 32 × 32 pixels."""
    from data_pipelines.build import build

    folder = tmp_path_factory.mktemp("data")
    for name in ("demo_tiles", "demo_scenes", "demo_aerial", "demo_objects"):
        build(f"{name}/tiny", folder)
    return folder


@pytest.fixture
def on_devices(monkeypatch):
    """Let runs see only the first n of the eight devices."""
    import jax

    from ssl_jax import mesh, parts

    def limit(count):
        monkeypatch.setattr(parts, "data_mesh", lambda: mesh.data_mesh(jax.devices()[:count]))

    return limit
