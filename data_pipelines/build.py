"""Prepare a dataset: `python -m data_pipelines.build NAME[/CONFIG] --data_dir D`.

TFDS's own command needs TensorFlow; this one doesn't. It writes ArrayRecord files, under a
temporary name until they are complete.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import absl.logging
import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.fields import replaced
from data_pipelines.preparing.encoding import Moments
from data_pipelines.preparing.parallel import WorkerDied, cores
from data_pipelines.preparing.prepare import (
    Splits,
    describe,
    incomplete_folder,
    prepare,
    readings,
    told_when_full,
)
from data_pipelines.preparing.summary import CONTACT_SHEET, contact_sheet, print_bands, print_splits
from data_pipelines.preparing.verify import verify
from data_pipelines.registry import BUILDERS, find_builder
from data_pipelines.sources.dataset import Dataset, check_usable, open_folder

__all__ = ["Options", "build", "builder_of", "main", "prepare_dataset"]

_USER_MISTAKE = 2
_INTERRUPTED = 130  # as shells have it for SIGINT
_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: schedulers are told to requeue on it
_NOWHERE = Path("/nowhere")  # where builders think that datasets lie


@dataclasses.dataclass(frozen=True)
class Options:
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


def build(
    name: str,
    data_dir: str | Path,
    manual_dir: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 1,
    skip: bool = False,
    fields: Sequence[str] = (),
) -> Path:
    """Prepare a dataset, unless it is prepared already.

    Args:
        name: as `registry.find_builder` takes it.
        data_dir: where prepared datasets lie.
        manual_dir: the folder with the user's own files, for builders that read one.
        overwrite: prepare it again if it is prepared already.
        workers: processes that read; more than one only under `if __name__ == "__main__":`.
        skip: leave bad items out and list them in `skipped.txt`, rather than stop at the first.
        fields: of the builder's config, as `FIELD=VALUE`.

    Returns:
        The folder of the prepared dataset.

    Raises:
        UserError: no such builder or config, or it can't make anything of `manual_dir`.
    """
    manual = None if manual_dir is None else Path(manual_dir)
    options = Options(Path(data_dir).expanduser(), manual, overwrite, workers, skip, tuple(fields))
    return prepare_dataset(name, options)


def prepare_dataset(name: str, options: Options) -> Path:
    """Prepare a dataset, unless it is prepared already; see `build`."""
    builder = builder_of(name, options)
    folder = _folder(builder, options)
    if options.overwrite or not _is_prepared(folder):
        _build(builder, name, folder, options)
    else:
        _check_same(builder, name, folder)
    return folder


def main(arguments: Sequence[str]) -> int:
    """The command line: prepare a dataset and print what it holds."""
    parser = _parser()
    known, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}; a config's fields are --config.FIELD=VALUE")
    options = Options(
        data_dir=Path(known.data_dir).expanduser(),
        manual_dir=Path(known.manual_dir) if known.manual_dir else None,
        overwrite=known.overwrite,
        workers=known.workers,
        skip=known.on_error == "skip",
        fields=tuple(word.removeprefix("--config.") for word in rest),
        beam_runner=known.beam_runner,
        beam_options=tuple(known.beam_options.split()),
    )
    builder = builder_of(known.name, options)
    folder = _folder(builder, options)
    published = _sensor(builder)
    if known.dry_run:
        with _explained(builder):
            _print_found(_splits(builder, options))
        print(f"{known.name} would be prepared in {folder}; nothing was read or written")
        return 0
    started = time.monotonic()
    expected: dict[str, int | None] = {}
    if _is_prepared(folder) and not options.overwrite:
        _check_same(builder, known.name, folder)
        print(f"{known.name} is already prepared in {folder}")
    else:
        expected, skipped = _build(builder, known.name, folder, options, _print_found)
        print(f"{known.name} prepared in {time.monotonic() - started:.1f} s: {folder}")
        if skipped:
            print(f"{len(skipped)} skipped, listed in {folder / 'skipped.txt'}: {skipped[0]}")
    dataset = open_folder(folder, known.name)
    print_splits(dataset, expected)
    if known.verify:
        read = verify(dataset)
        moments = {split: found.moments for split, found in read.items()}
        count = sum(len(found.catalogue.keys) for found in read.values())
        print(f"verified: all {count:,} records read back, and are what was written")
    else:
        moments = _written_moments(folder)
    print_bands(dataset, moments, published)
    if (folder / CONTACT_SHEET).is_file():
        print(f"to look at: {folder / CONTACT_SHEET}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.build",
        description="Prepare a dataset as ArrayRecord files, once, for all later runs.",
        epilog="Any field of the dataset's config can be set with --config.FIELD=VALUE, and "
        "--config.name=NAME then names the result.\n\ndatasets:\n"
        + "\n".join(f"  {name}" for name in BUILDERS),
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
    parser.add_argument(
        "--workers",
        type=int,
        default=cores(),
        metavar="N",
        help="processes that read; default: one a core, here %(default)s",
    )
    parser.add_argument(
        "--on_error",
        choices=("stop", "skip"),
        default="stop",
        help="what a bad image, mask or label does: stop and be named (the default), or be left "
        "out, counted and listed",
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="say what is found in the files, and read none"
    )
    parser.add_argument(
        "--verify", action="store_true", help="read everything back, count it and compare it"
    )
    parser.add_argument(
        "--beam_runner",
        default="",
        metavar="RUNNER",
        help="let Apache Beam do it: DirectRunner, DataflowRunner, FlinkRunner, SparkRunner; needs "
        "pip install 'ssl_jax[beam]'",
    )
    parser.add_argument(
        "--beam_options", default="", metavar="OPTIONS", help="Beam's own, in one quoted string"
    )
    return parser


def builder_of(name: str, options: Options) -> tfds.core.DatasetBuilder:
    """The builder, which sees nothing of what is prepared already: TFDS would take that over."""
    found = find_builder(name)
    config: Any = found.config or None
    open_config = getattr(found.builder, "OPEN_CONFIG", None)
    if open_config is not None and found.config not in found.configs:
        if not found.config:
            raise UserError(f"dataset {name}: expected {name}/NAME, with a name of your choice")
        config = replaced(open_config(name=found.config), options.fields, f"dataset {name}")
    elif found.config not in (found.configs or ("",)):
        raise UserError(
            f"dataset {name}: has no config {found.config!r}; expected "
            + (f"one of {', '.join(found.configs)}" if found.configs else "none")
        )
    elif options.fields:
        config = _changed(name, found.builder, found.config, options.fields)
    if hasattr(config, "of_files") and options.manual_dir is not None:
        config = config.of_files(_manual_dir(options.manual_dir))
    with _quiet():
        return found.builder(
            data_dir=os.fspath(_NOWHERE),
            config=config,
            file_format=tfds.core.FileFormat.ARRAY_RECORD,
        )


def _changed(name: str, builder: Any, config: str, fields: Sequence[str]) -> Any:
    """A config of the builder with some fields changed, under a name of its own."""
    if not config:
        raise UserError(f"dataset {name}: has no config; found --config.{fields[0]}")
    changed = replaced(builder.builder_configs[config], fields, f"config {config} of {name}")
    if changed.name in builder.builder_configs:
        raise UserError(
            f"dataset {name}: --config.{fields[0]} makes another dataset of it; expected "
            "--config.name=NAME too, a name of its own"
        )
    return changed


def _folder(builder: tfds.core.DatasetBuilder, options: Options) -> Path:
    folder = Path(builder.data_dir)
    if not folder.is_relative_to(_NOWHERE) or ".." in folder.parts:
        raise UserError(
            f"dataset {builder.name}: its config {builder.builder_config.name!r} would lie outside "
            "of --data_dir; expected a word, or words with / between"
        )
    return options.data_dir / folder.relative_to(_NOWHERE)


def _is_prepared(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()


def _check_same(builder: tfds.core.DatasetBuilder, name: str, folder: Path) -> None:
    """See to it that what is prepared under a name is what the name stands for now."""
    stored = tfds.builder_from_directory(folder).info
    now, then = (
        (info.features.to_json(), _undescribed(info.metadata)) for info in (builder.info, stored)
    )
    if now != then:
        raise UserError(
            f"dataset {name}: is prepared in {folder} with another config; expected --overwrite, "
            "or another name for this one"
        )


def _undescribed(metadata: Mapping[str, Any] | None) -> Any:
    """Metadata without the statistics, which a build may have measured, as JSON has it."""
    plain = json.loads(json.dumps(dict(metadata or {})))
    for band in plain.get("sensor", {}).get("bands", ()):
        del band["mean"], band["std"]
    return plain


def _build(
    builder: tfds.core.DatasetBuilder,
    name: str,
    folder: Path,
    options: Options,
    announce: Callable[[Splits], None] = lambda splits: None,
) -> tuple[dict[str, int | None], list[str]]:
    """Prepare the dataset; how many examples its splits should have, and what was skipped.

    Before anything is read, `announce` is told what there is to read.
    """
    check_usable(name, builder.info)
    with told_when_full(folder), incomplete_folder(folder) as (incomplete, left):
        if left:
            print(left, file=sys.stderr)
        with _explained(builder):
            splits = _splits(builder, options)
            announce(splits)
            if options.beam_runner:
                from data_pipelines.preparing.beam import prepare_with_beam

                runner, extra = options.beam_runner, options.beam_options
                done = prepare_with_beam(builder, splits, incomplete, runner, extra, options.skip)
            else:
                done = prepare(builder, name, splits, incomplete, options.workers, options.skip)
        describe(builder, incomplete, done)
        contact_sheet(_opened(incomplete, name), incomplete / CONTACT_SHEET)
    expected = {split: n for r in readings(splits) for split, n in r.expected.items()}
    return expected, done.skipped


def _splits(builder: tfds.core.DatasetBuilder, options: Options) -> Splits:
    """What the builder's `_split_generators` returns, in TFDS's newer form."""
    instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if instructions and options.manual_dir is None:
        raise UserError(
            f"dataset {builder.name}: reads files of yours; expected --manual_dir with "
            + " ".join(instructions.split())
        )
    manual_dir = None if options.manual_dir is None else _manual_dir(options.manual_dir)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    with _quiet():
        downloads = options.data_dir / "downloads"
        manager = builder._make_download_manager(download_dir=downloads, download_config=config)
        try:
            splits = builder._split_generators(manager)
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
        return {split.name: builder._generate_examples(**split.gen_kwargs) for split in splits}
    return splits


def _manual_dir(folder: Path) -> Path:
    folder = folder.expanduser()
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"--manual_dir {folder}: is no folder with files in it")
    return folder


def _print_found(splits: Splits) -> None:
    """What a dry run says, and a build before it begins; nothing for splits of generators."""
    for reading in readings(splits):
        for what, details in reading.found:
            print(f"{what}: {details}")
        for split, expected in reading.expected.items():
            print(f"split {split}: {'unknown' if expected is None else f'{expected:,}'} examples")


def _opened(folder: Path, name: str) -> Dataset:
    with _quiet():
        return open_folder(folder, name)


def _written_moments(folder: Path) -> dict[str, Moments]:
    file = folder / "statistics.json"
    if not file.is_file():
        return {}
    return {
        split: Moments.from_statistics(s["pixels"], np.array(s["mean"]), np.array(s["std"]))
        for split, s in json.loads(file.read_text()).items()
    }


def _sensor(builder: tfds.core.DatasetBuilder) -> Sensor | None:
    """The sensor as the builder knows it, before anything is measured."""
    description = (builder.info.metadata or {}).get("sensor")
    return Sensor.from_dict(description) if description else None


@contextlib.contextmanager
def _explained(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
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


class _Stopped(KeyboardInterrupt):
    """A scheduler's signal: cleaned up after as after Ctrl-C."""


def _stop(*_: object) -> None:
    raise _Stopped


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _stop)
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(_USER_MISTAKE)
    except WorkerDied as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        print("interrupted; nothing half-written is left", file=sys.stderr)
        sys.exit(_STOPPED if isinstance(interrupt, _Stopped) else _INTERRUPTED)
