"""Names that other libraries don't publish are where they were: each failure names the library."""

import importlib
import inspect
from typing import Any

import tensorflow_datasets as tfds


def found(library: str, module: str, name: str, used_in: str) -> Any:
    """What a module of a library calls `name`."""
    moved = f"{library} moved {name} of {module}, which it doesn't publish: see {used_in}"
    try:
        value = getattr(importlib.import_module(module), name, None)
    except ImportError:
        value = None
    assert value is not None, moved
    return value


def test_jax_has_the_client_of_its_coordination_service():
    where = ("jax._src.distributed", "global_state", "ssl_jax/devices/private.py")
    assert hasattr(found("JAX", *where), "client"), where


def test_tensorboardx_has_a_writer_that_writes_in_the_calling_thread():
    where = ("tensorboardX.event_file_writer", "EventsWriter", "ssl_jax/training/tensorboard.py")
    writer = found("tensorboardX", *where)
    assert all(hasattr(writer, name) for name in ("write_event", "flush", "close")), where


def test_tfds_has_its_serializer_its_register_and_its_download_manager():
    used_in = "data_pipelines/private.py"
    core = "tensorflow_datasets.core"
    serializer = found("TFDS", f"{core}.example_serializer", "ExampleSerializer", used_in)
    assert hasattr(serializer, "get_tf_example"), f"TFDS's ExampleSerializer: see {used_in}"
    assert callable(found("TFDS", f"{core}.registered", "skip_registration", used_in))
    make = getattr(tfds.core.DatasetBuilder, "_make_download_manager", None)
    assert make is not None, f"TFDS moved _make_download_manager: see {used_in}"
    expected = {"download_dir", "download_config"}
    assert expected <= set(inspect.signature(make).parameters), f"TFDS's arguments: see {used_in}"
