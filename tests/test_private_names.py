"""Names that other libraries don't publish are where they were: each test names the library."""

import inspect

import tensorflow_datasets as tfds

HELP = "{library} moved {name}, which it doesn't publish: see {module}"


def expect(found: bool, library: str, name: str, module: str) -> None:
    assert found, HELP.format(library=library, name=name, module=module)


def test_jax_has_the_client_of_its_coordination_service():
    where = ("JAX", "jax._src.distributed.global_state.client", "ssl_jax/devices/private.py")
    try:
        from jax._src.distributed import global_state
    except ImportError:
        expect(False, *where)
    expect(hasattr(global_state, "client"), *where)


def test_tensorboardx_has_a_writer_that_writes_in_the_calling_thread():
    where = ("tensorboardX", "EventsWriter", "ssl_jax/training/tensorboard.py")
    try:
        from tensorboardX.event_file_writer import EventsWriter
    except ImportError:
        expect(False, *where)
    expect(all(hasattr(EventsWriter, n) for n in ("write_event", "flush", "close")), *where)


def test_tfds_has_its_serializer_its_register_and_its_download_manager():
    module = "data_pipelines/private.py"
    try:
        from tensorflow_datasets.core.example_serializer import ExampleSerializer
    except ImportError:
        expect(False, "TFDS", "ExampleSerializer", module)
    expect(hasattr(ExampleSerializer, "get_tf_example"), "TFDS", "get_tf_example", module)
    try:
        from tensorflow_datasets.core.registered import skip_registration
    except ImportError:
        expect(False, "TFDS", "skip_registration", module)
    expect(callable(skip_registration), "TFDS", "skip_registration", module)
    make = getattr(tfds.core.DatasetBuilder, "_make_download_manager", None)
    expect(make is not None, "TFDS", "_make_download_manager", module)
    expected = {"download_dir", "download_config"}
    expect(expected <= set(inspect.signature(make).parameters), "TFDS", f"{expected}", module)
