"""Fixtures shared by all tests, which run on eight simulated CPU devices."""

import contextlib
import functools
import gc
import os

import hypothesis
import jax_environment
import pytest

# The duration of an example depends on the load of the machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

variables = jax_environment.make_environment(devices=8)
if "XLA_FLAGS" in os.environ:  # set, possibly to "", for tests that train longer than they compile
    del variables["XLA_FLAGS"]
os.environ.update(variables)

# Tracing allocates millions of objects: collecting garbage less often saves a seventh of its time.
gc.set_threshold(100_000, 20, 50)


# These run first, so that the workers end at about the same time.
LONGEST = (
    *("test_usefulness.py", "test_kills.py", "test_several_processes.py"),
    *("test_run_invariances.py", "test_describe.py", "test_configs.py"),
    *("test_finetuning.py", "test_convert.py", "test_prepare.py", "test_potsdam.py"),
    *("test_train.py", "test_datasets_of_the_study.py", "test_search.py", "test_report.py"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Folder with the `tiny` config of the demo datasets: 48, 80, … images of 32 × 32 pixels."""
    from data_pipelines.preparing.build import build

    folder = tmp_path_factory.mktemp("data")
    for name in ("demo_tiles", "demo_scenes", "demo_aerial", "demo_objects"):
        build(f"{name}/tiny", folder)
    return folder


@pytest.fixture
def on_devices():
    """Function that restricts runs to the first n of the eight devices."""
    from small_configs import limit_devices

    with contextlib.ExitStack() as stack:
        yield lambda count: stack.enter_context(limit_devices(count))


@pytest.fixture(scope="session")
def trained(data_dir, tmp_path_factory):
    """Function that returns the shared run of a kind on one device; tests must not change it."""
    from small_configs import FinishedRun, limit_devices, make_small_config

    from ssl_jax.runs.training import train

    @functools.cache
    def run(kind: str) -> FinishedRun:
        config = make_small_config(kind, data_dir)
        config.every.save = 3
        workdir = tmp_path_factory.mktemp(kind)
        with limit_devices(1):
            return FinishedRun(workdir, config, train(config, workdir))

    return run
