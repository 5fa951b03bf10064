"""TFDS builders and their splits, created from a dataset's name and the options of a build."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import absl.logging
import tensorflow_datasets as tfds

from data_pipelines import private
from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.fields import replace_fields
from data_pipelines.preparing.prepare import Splits
from data_pipelines.registry import find_builder

__all__ = [
    "BuildOptions",
    "dataset_folder",
    "explain_tensorflow_errors",
    "make_builder",
    "make_split_generators",
    "published_sensor",
    "silence_tfds",
]

# Data directory given to builders. It does not exist, so that TFDS finds no prepared dataset there.
_PLACEHOLDER_DIR = Path("/nowhere")


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """Options of a build.

    Attributes:
        data_dir: Folder of prepared datasets.
        manual_dir: Folder with the user's own files, for builders that read one.
        overwrite: Whether to prepare the dataset again if it is prepared already.
        workers: Number of reading processes.
        skip: Whether to skip invalid items and list them in `skipped.txt`, instead of stopping at
            the first one.
        fields: Fields of the builder's config, as `FIELD=VALUE`.
        beam_runner: Name of an Apache Beam runner to use instead of `workers`; empty for none.
        beam_options: Apache Beam's pipeline options.
        accept: Names of checks of the pixels to pass over.
    """

    data_dir: Path
    manual_dir: Path | None = None
    overwrite: bool = False
    workers: int = 1
    skip: bool = False
    fields: tuple[str, ...] = ()
    beam_runner: str = ""
    beam_options: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()


def make_builder(name: str, options: BuildOptions) -> tfds.core.DatasetBuilder:
    """Create the TFDS builder of a dataset.

    The builder does not see datasets that are prepared already: TFDS would load their stored
    description.

    Args:
        name: Dataset name, as for `registry.find_builder`.
        options: Options of the build.

    Raises:
        UserError: If there is no such builder, config or field, or `manual_dir` has no files.
    """
    entry = find_builder(name)
    config: Any = entry.config or None
    open_config = getattr(entry.builder, "OPEN_CONFIG", None)
    if open_config is not None and entry.config not in entry.configs:
        if not entry.config:
            raise UserError(f"dataset {name}: expected {name}/NAME, with a name of your choice")
        config = replace_fields(open_config(name=entry.config), options.fields, f"dataset {name}")
    elif entry.config not in (entry.configs or ("",)):
        raise UserError(
            f"dataset {name}: has no config {entry.config!r}; expected "
            + (f"one of {', '.join(entry.configs)}" if entry.configs else "none")
        )
    elif options.fields:
        config = _make_custom_config(name, entry.builder, entry.config, options.fields)
    if hasattr(config, "of_files") and options.manual_dir is not None:
        config = config.of_files(_check_manual_dir(options.manual_dir))
    with silence_tfds():
        return entry.builder(
            data_dir=os.fspath(_PLACEHOLDER_DIR),
            config=config,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )


def _make_custom_config(name: str, builder: Any, config: str, fields: Sequence[str]) -> Any:
    """Return a copy of one of the builder's configs with other fields and a name of its own."""
    if not config:
        raise UserError(f"dataset {name}: has no config; found --config.{fields[0]}")
    custom = replace_fields(builder.builder_configs[config], fields, f"config {config} of {name}")
    if custom.name in builder.builder_configs:
        raise UserError(
            f"dataset {name}: --config.{fields[0]} makes another dataset of it; expected "
            "--config.name=NAME too, with a new name"
        )
    return custom


def dataset_folder(builder: tfds.core.DatasetBuilder, options: BuildOptions) -> Path:
    """Return the folder that the dataset of a builder is prepared in.

    Raises:
        UserError: If it is outside `options.data_dir`.
    """
    folder = Path(builder.data_dir)
    if not folder.is_relative_to(_PLACEHOLDER_DIR) or ".." in folder.parts:
        raise UserError(
            f"dataset {builder.name}: the folder of config {builder.builder_config.name!r} would "
            "be outside --data_dir; expected one or more words separated by /"
        )
    return options.data_dir / folder.relative_to(_PLACEHOLDER_DIR)


def published_sensor(builder: tfds.core.DatasetBuilder) -> Sensor | None:
    """Return the sensor with its published statistics, or None if the builder has no sensor."""
    description = (builder.info.metadata or {}).get("sensor")
    return Sensor.from_dict(description) if description else None


def make_split_generators(builder: tfds.core.DatasetBuilder, options: BuildOptions) -> Splits:
    """Return the splits of the builder's `_split_generators`, in the form of TFDS 4.

    Raises:
        UserError: If the builder reads the user's files and `manual_dir` is not given or empty, or
            the builder does not document them.
    """
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions and options.manual_dir is None:
        raise UserError(
            f"dataset {builder.name}: reads files of yours; expected --manual_dir with "
            + " ".join(instructions.split())
        )
    manual_dir = None if options.manual_dir is None else _check_manual_dir(options.manual_dir)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with silence_tfds():
        downloads = options.data_dir / "downloads"
        manager = private.make_download_manager(builder, downloads, config)
        try:
            splits = private.make_split_generators(builder, manager)
        except ValueError as error:
            if "MANUAL_DOWNLOAD_INSTRUCTIONS" not in str(error):
                raise
            raise UserError(
                f"dataset {builder.name}: its builder reads dl_manager.manual_dir; expected it to "
                "describe the files in MANUAL_DOWNLOAD_INSTRUCTIONS"
            ) from error
        finally:
            with contextlib.suppress(OSError):  # not empty, or never created
                (downloads / "extracted").rmdir()
                downloads.rmdir()
    if isinstance(splits, list):  # the form before TFDS 4.0
        return {split.name: private.generate_examples(builder, split) for split in splits}
    return splits


def _check_manual_dir(folder: Path) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"--manual_dir {folder}: is not a folder with files in it")
    return folder


@contextlib.contextmanager
def explain_tensorflow_errors(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Replace the import errors of TFDS features that need TensorFlow by an explanation.

    Raises:
        UserError: If the builder needs TensorFlow.
    """
    try:
        yield
    except ImportError as error:
        if "tensorflow" not in str(error):
            raise
        raise UserError(
            f"dataset {builder.name}: its builder needs TensorFlow, which is not used here; "
            "expected images as tfds.features.Tensor with Encoding.BYTES, or, for "
            "tfds.features.Image, the paths or open files of encoded ones"
        ) from error


@contextlib.contextmanager
def silence_tfds() -> Iterator[None]:
    """Disable TFDS's log messages, prints and progress bars."""
    tfds.disable_progress_bar()
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with open(os.devnull, "w") as null_file, contextlib.redirect_stdout(null_file):
            yield
    finally:
        absl.logging.set_verbosity(verbosity)
