"""From a dataset's name and a build's options to its TFDS builder, and what that would read."""

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

_NOWHERE = Path("/nowhere")  # where builders think that datasets lie


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """How a dataset is prepared.

    Attributes:
        data_dir: where prepared datasets lie.
        manual_dir: the folder with the user's own files, for builders that read one.
        overwrite: prepare it again if it is prepared already.
        workers: processes that read.
        skip: leave bad items out and list them in `skipped.txt`, rather than stop at the first.
        fields: of the builder's config, as `FIELD=VALUE`.
        beam_runner: Apache Beam's, instead of `workers`.
        beam_options: Apache Beam's own.
    """

    data_dir: Path
    manual_dir: Path | None = None
    overwrite: bool = False
    workers: int = 1
    skip: bool = False
    fields: tuple[str, ...] = ()
    beam_runner: str = ""
    beam_options: tuple[str, ...] = ()


def make_builder(name: str, options: BuildOptions) -> tfds.core.DatasetBuilder:
    """The builder, which sees nothing of what is prepared already: TFDS would take that over."""
    found = find_builder(name)
    config: Any = found.config or None
    open_config = getattr(found.builder, "OPEN_CONFIG", None)
    if open_config is not None and found.config not in found.configs:
        if not found.config:
            raise UserError(f"dataset {name}: expected {name}/NAME, with a name of your choice")
        config = replace_fields(open_config(name=found.config), options.fields, f"dataset {name}")
    elif found.config not in (found.configs or ("",)):
        raise UserError(
            f"dataset {name}: has no config {found.config!r}; expected "
            + (f"one of {', '.join(found.configs)}" if found.configs else "none")
        )
    elif options.fields:
        config = _changed(name, found.builder, found.config, options.fields)
    if hasattr(config, "of_files") and options.manual_dir is not None:
        config = config.of_files(_manual_dir(options.manual_dir))
    with silence_tfds():
        return found.builder(
            data_dir=os.fspath(_NOWHERE),
            config=config,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )


def _changed(name: str, builder: Any, config: str, fields: Sequence[str]) -> Any:
    """A config of the builder with some fields changed, under a name of its own."""
    if not config:
        raise UserError(f"dataset {name}: has no config; found --config.{fields[0]}")
    changed = replace_fields(builder.builder_configs[config], fields, f"config {config} of {name}")
    if changed.name in builder.builder_configs:
        raise UserError(
            f"dataset {name}: --config.{fields[0]} makes another dataset of it; expected "
            "--config.name=NAME too, a name of its own"
        )
    return changed


def dataset_folder(builder: tfds.core.DatasetBuilder, options: BuildOptions) -> Path:
    """Where the dataset of a builder is prepared.

    Raises:
        UserError: outside of `options.data_dir`.
    """
    folder = Path(builder.data_dir)
    if not folder.is_relative_to(_NOWHERE) or ".." in folder.parts:
        raise UserError(
            f"dataset {builder.name}: its config {builder.builder_config.name!r} would lie outside "
            "of --data_dir; expected a word, or words with / between"
        )
    return options.data_dir / folder.relative_to(_NOWHERE)


def published_sensor(builder: tfds.core.DatasetBuilder) -> Sensor | None:
    """The sensor as the builder knows it, before anything is measured."""
    description = (builder.info.metadata or {}).get("sensor")
    return Sensor.from_dict(description) if description else None


def make_split_generators(builder: tfds.core.DatasetBuilder, options: BuildOptions) -> Splits:
    """What the builder's `_split_generators` returns, in TFDS's newer form."""
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions and options.manual_dir is None:
        raise UserError(
            f"dataset {builder.name}: reads files of yours; expected --manual_dir with "
            + " ".join(instructions.split())
        )
    manual_dir = None if options.manual_dir is None else _manual_dir(options.manual_dir)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with silence_tfds():
        downloads = options.data_dir / "downloads"
        manager = private.download_manager(builder, downloads, config)
        try:
            splits = private.split_generators(builder, manager)
        except ValueError as error:
            if "MANUAL_DOWNLOAD_INSTRUCTIONS" not in str(error):
                raise
            raise UserError(
                f"dataset {builder.name}: its builder reads dl_manager.manual_dir; expected it to "
                "say in MANUAL_DOWNLOAD_INSTRUCTIONS what belongs there"
            ) from error
        finally:
            with contextlib.suppress(OSError):  # there, and nothing was downloaded
                (downloads / "extracted").rmdir()
                downloads.rmdir()
    if isinstance(splits, list):  # as TFDS had it before 4.0
        return {split.name: private.examples_of(builder, split) for split in splits}
    return splits


def _manual_dir(folder: Path) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"--manual_dir {folder}: is no folder with files in it")
    return folder


@contextlib.contextmanager
def explain_tensorflow_errors(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Say what to do about TFDS's features that need TensorFlow."""
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
    """Keep TFDS from announcing what it is about to do, and from its own progress bars."""
    tfds.disable_progress_bar()
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        absl.logging.set_verbosity(verbosity)
