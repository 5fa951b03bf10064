"""Names of TFDS that it doesn't publish: used here and nowhere else.

If a release of TFDS moves one of them, tests/test_private_names.py says which. Then look for its
successor in TFDS's `core/` and mend it here:

- `ExampleSerializer` makes a `tf.train.Example` of an encoded example; without it, one can be made
  of `tf_example_pb2` by hand.
- `skip_registration` lets two builders of one name be imported; without it, TFDS's register has to
  be emptied between imports.
- `_make_download_manager` makes the `dl_manager` that builders are written for. Public is only
  `download_and_prepare`, which needs TensorFlow to write.
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
    "download_manager",
    "examples_of",
    "skip_registration",
    "split_generators",
]


def download_manager(
    builder: tfds.core.DatasetBuilder, folder: Path, config: tfds.download.DownloadConfig
) -> tfds.download.DownloadManager:
    """The manager that a builder downloads with, into `folder`."""
    return builder._make_download_manager(download_dir=folder, download_config=config)


def split_generators(
    builder: tfds.core.DatasetBuilder, manager: tfds.download.DownloadManager
) -> Any:
    """What the builder's `_split_generators` returns."""
    return builder._split_generators(manager)


def examples_of(builder: tfds.core.DatasetBuilder, split: Any) -> Iterable[Any]:
    """The examples of a split as builders had it before TFDS 4.0."""
    return builder._generate_examples(**split.gen_kwargs)
