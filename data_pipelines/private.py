"""TFDS's private API: all uses of it are in this module.

If a release of TFDS moves a name, tests/test_private_names.py fails and reports which. Find its
successor in TFDS's `core/` and replace it here:

- `ExampleSerializer` converts an encoded example to a `tf.train.Example`. Without it, build one
  from `tf_example_pb2`.
- `skip_registration` allows two builders of the same name to be imported. Without it, TFDS's
  registry has to be cleared between imports.
- `_make_download_manager` creates the `dl_manager` that builders are written for. The public
  `download_and_prepare` needs TensorFlow to write.
- `_split_generators` and `_generate_examples` are what every builder defines, hence stable.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.core.registered import skip_registration

__all__ = [
    "ExampleSerializer",
    "generate_examples",
    "make_download_manager",
    "make_split_generators",
    "skip_registration",
]


def make_download_manager(
    builder: tfds.core.DatasetBuilder, folder: Path, config: tfds.download.DownloadConfig
) -> tfds.download.DownloadManager:
    """Create the download manager of a builder, which downloads to `folder`."""
    return builder._make_download_manager(download_dir=folder, download_config=config)


def make_split_generators(
    builder: tfds.core.DatasetBuilder, manager: tfds.download.DownloadManager
) -> Any:
    """Return the result of the builder's `_split_generators`."""
    return builder._split_generators(manager)


def generate_examples(builder: tfds.core.DatasetBuilder, split: Any) -> Iterable[Any]:
    """Generate the examples of a split of a builder written for TFDS before 4.0."""
    return builder._generate_examples(**split.gen_kwargs)
