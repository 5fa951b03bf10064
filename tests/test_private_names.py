"""Private names of other libraries still exist; a failure names the library and the caller."""

import importlib
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import tensorflow_datasets as tfds
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from ssl_jax.devices.private import varying_axes


def get_private(library: str, module: str, name: str, used_in: str) -> Any:
    """Return a private name of a module."""
    message = f"{library} moved the private name {name} of {module}, used in {used_in}"
    try:
        value = getattr(importlib.import_module(module), name, None)
    except ImportError:
        value = None
    assert value is not None, message
    return value


def test_jax_has_the_client_of_its_coordination_service():
    location = ("jax._src.distributed", "global_state", "ssl_jax/devices/private.py")
    assert hasattr(get_private("JAX", *location), "client"), location


def test_jax_tells_along_which_axes_an_array_differs():
    varying = []

    def record(array):
        varying.append(varying_axes(array))
        return array

    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    mapped = jax.shard_map(record, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    jax.eval_shape(mapped, jnp.ones(2))
    assert varying == [{"data"}], "JAX moved manual_axis_type, used in ssl_jax/devices/private.py"
    assert varying_axes(jnp.ones(2)) == set()


def test_tensorboardx_has_a_writer_without_thread():
    location = ("tensorboardX.event_file_writer", "EventsWriter", "ssl_jax/training/tensorboard.py")
    writer = get_private("tensorboardX", *location)
    assert all(hasattr(writer, name) for name in ("write_event", "flush", "close")), location


def test_tfds_has_a_serializer_a_registry_and_a_download_manager():
    used_in = "data_pipelines/private.py"
    core = "tensorflow_datasets.core"
    serializer = get_private("TFDS", f"{core}.example_serializer", "ExampleSerializer", used_in)
    assert hasattr(serializer, "get_tf_example"), (
        f"TFDS changed ExampleSerializer, used in {used_in}"
    )
    assert callable(get_private("TFDS", f"{core}.registered", "skip_registration", used_in))
    make = getattr(tfds.core.DatasetBuilder, "_make_download_manager", None)
    assert make is not None, f"TFDS moved _make_download_manager, used in {used_in}"
    expected = {"download_dir", "download_config"}
    assert expected <= set(inspect.signature(make).parameters), (
        f"TFDS changed the arguments of _make_download_manager, used in {used_in}"
    )
