"""Prepare a dataset: `python -m data_pipelines.build NAME[/CONFIG] --data_dir D`.

TFDS's own command needs TensorFlow; this one doesn't. It writes ArrayRecord files, under a
temporary name until they are complete.
"""

import argparse
import contextlib
import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import absl.logging
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tensorflow_datasets.core.writer import ExampleWriter

from data_pipelines.errors import UserError
from data_pipelines.registry import BUILDERS, find_builder

__all__ = ["build", "main"]

_USER_MISTAKE = 2
_INTERRUPTED = 130  # as shells have it for SIGINT


def build(
    name: str,
    data_dir: str | Path,
    manual_dir: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Prepare a dataset, unless it is prepared already.

    Args:
        name: as `registry.find_builder` takes it.
        data_dir: where prepared datasets lie.
        manual_dir: the folder with the user's own files, for builders that read one.
        overwrite: prepare it again if it is prepared already.

    Returns:
        The folder of the prepared dataset.

    Raises:
        UserError: no such builder or config, or it can't make anything of `manual_dir`.
    """
    builder = _builder(name, data_dir)
    folder = Path(builder.data_dir)
    if overwrite or not _is_prepared(folder):
        with _set_aside(folder):
            _prepare(builder, manual_dir)
    return folder


def main(arguments: Sequence[str]) -> int:
    """The command line: prepare a dataset and print what it holds."""
    options = _parser().parse_args(arguments)
    folder = Path(_builder(options.name, options.data_dir).data_dir)
    started = time.monotonic()
    if _is_prepared(folder) and not options.overwrite:
        print(f"{options.name} is already prepared in {folder}")
    else:
        build(options.name, options.data_dir, options.manual_dir, options.overwrite)
        print(f"{options.name} prepared in {time.monotonic() - started:.1f} s: {folder}")
    _print_summary(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.build",
        description="Prepare a dataset as ArrayRecord files, once, for all later runs.",
        epilog="datasets:\n" + "\n".join(f"  {name}" for name in BUILDERS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name",
        metavar="NAME[/CONFIG]",
        help="a dataset of the list below, one registered with TFDS, or a builder of your own as "
        "package.module:Class or path/to/builder.py:Class",
    )
    parser.add_argument("--data_dir", required=True, help="where prepared datasets lie")
    parser.add_argument(
        "--manual_dir", help="folder with your own files, for the datasets that read one"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="prepare it again if it is prepared already"
    )
    return parser


def _builder(name: str, data_dir: str | Path) -> tfds.core.DatasetBuilder:
    found = find_builder(name)
    if found.config not in (found.configs or ("",)):
        raise UserError(
            f"dataset {name}: has no config {found.config!r}; expected "
            + (f"one of {', '.join(found.configs)}" if found.configs else "none")
        )
    with _quiet():
        return found.builder(
            data_dir=os.fspath(Path(data_dir).expanduser()),
            config=found.config or None,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )


def _is_prepared(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()


def _prepare(builder: tfds.core.DatasetBuilder, manual_dir: str | Path | None) -> None:
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions and manual_dir is None:
        raise UserError(
            f"dataset {builder.name}: reads files of yours; expected --manual_dir with "
            + " ".join(instructions.split())
        )
    if manual_dir is not None:
        manual_dir = Path(manual_dir).expanduser()
        if not manual_dir.is_dir() or not any(manual_dir.iterdir()):
            raise UserError(f"--manual_dir {manual_dir}: is no folder with files in it")
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with _progress() as progress, _quiet():
        builder._split_generators = _watched(builder, progress)
        builder._example_writer = lambda: _Writer(tfds.core.FileFormat.ARRAY_RECORD)
        try:
            builder.download_and_prepare(download_config=config)
        except ImportError as error:
            if "tensorflow" not in str(error):
                raise
            raise UserError(
                f"dataset {builder.name}: its builder needs TensorFlow, which is not used here; "
                "expected images as tfds.features.Tensor with Encoding.BYTES, or, for "
                "tfds.features.Image, the paths or open files of encoded ones"
            ) from error


class _Writer(ExampleWriter):
    """Writes ArrayRecord without compression: pixels gain a sixth by it, and read half as fast."""

    def write(self, path: str | os.PathLike[str], examples: Iterable[tuple[Any, bytes]]) -> None:
        """Write the serialized examples of one shard."""
        writer = ArrayRecordWriter(os.fspath(path), "group_size:1,uncompressed")
        for _, example in examples:
            writer.write(example)
        writer.close()


@contextlib.contextmanager
def _set_aside(folder: Path) -> Iterator[None]:
    """Keep what is there until its successor is complete; put it back if that fails."""
    if not folder.exists():
        yield
        return
    aside = folder.with_name(f"{folder.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep TFDS from announcing what it is about to do, and from its own progress bars."""
    tfds.disable_progress_bar()
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        absl.logging.set_verbosity(verbosity)


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _watched(
    builder: tfds.core.DatasetBuilder, progress: Progress
) -> Callable[..., dict[str, Any]]:
    """The builder's `_split_generators`, its examples counted by `progress` as they pass.

    Builders may say in `expected_examples` how many examples each split will have.
    """
    split_generators = builder._split_generators

    @functools.wraps(split_generators)
    def watched(*args: Any, **kwargs: Any) -> dict[str, Any]:
        splits = split_generators(*args, **kwargs)
        expected = getattr(builder, "expected_examples", {})
        return {
            split: _counted(examples, progress, split, expected.get(split))
            if isinstance(examples, Iterator)  # not what is left to Apache Beam
            else examples
            for split, examples in splits.items()
        }

    return watched


def _counted(
    examples: Iterable[Any], progress: Progress, split: str, total: int | None
) -> Iterator[Any]:
    task = progress.add_task(split, total=total, rate="")
    for example in examples:
        yield example
        speed = progress.tasks[task].speed
        progress.update(task, advance=1, rate=f"{speed:.0f}/s" if speed else "")


def _print_summary(folder: Path) -> None:
    info = tfds.builder_from_directory(folder).info
    table = Table("split", "examples", "bytes")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, split in info.splits.items():
        table.add_row(name, f"{split.num_examples:,}", f"{split.num_bytes:,}")
    Console().print(table)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(_USER_MISTAKE)
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left", file=sys.stderr)
        sys.exit(_INTERRUPTED)
