"""Every test sees eight devices: fake ones, on a CPU."""

import contextlib
import functools
import gc
import os

import compiling
import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

variables = compiling.environment(devices=8)
if "XLA_FLAGS" in os.environ:  # set, if only to nothing, for what trains longer than it compiles
    del variables["XLA_FLAGS"]
os.environ.update(variables)

# Tracing makes and drops objects by the million: collecting them less often saves a seventh of it.
gc.set_threshold(100_000, 20, 50)


# The workers do these first, or one would be busy with the last of them when the other is done.
LONGEST = (
    *("test_usefulness.py", "test_kills.py", "test_several_processes.py"),
    *("test_one_run_however_it_is_done.py", "test_describe.py", "test_configs.py"),
    *("test_finetuning.py", "test_convert.py", "test_prepare.py", "test_potsdam.py"),
    *("test_train.py", "test_datasets_of_the_study.py", "test_search.py", "test_report.py"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """The embedded datasets at their tiniest: 48, 80, … pictures of 32 × 32 pixels."""
    from data_pipelines.preparing.build import build

    folder = tmp_path_factory.mktemp("data")
    for name in ("demo_tiles", "demo_scenes", "demo_aerial", "demo_objects"):
        build(f"{name}/tiny", folder)
    return folder


@pytest.fixture
def on_devices():
    """Let runs see only the first n of the eight devices."""
    from small import devices

    with contextlib.ExitStack() as stack:
        yield lambda count: stack.enter_context(devices(count))


@pytest.fixture(scope="session")
def trained(data_dir, tmp_path_factory):
    """Gives the run of `small(kind)` on one device, which no test may change: all share it."""
    from small import Trained, devices, small

    from ssl_jax.runs.training import train

    @functools.cache
    def run(kind: str) -> Trained:
        config = small(kind, data_dir)
        config.every.save = 3
        workdir = tmp_path_factory.mktemp(kind)
        with devices(1):
            return Trained(workdir, config, train(config, workdir))

    return run
