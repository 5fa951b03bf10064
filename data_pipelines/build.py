"""Prepare a dataset: `python -m data_pipelines.build NAME[/CONFIG] --data_dir D`.

TFDS's own command needs TensorFlow; this one doesn't. It writes ArrayRecord files, under a
temporary name until they are complete.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.errors import INTERRUPTED, STOPPED, USER_ERROR, UserError
from data_pipelines.preparing.build import build_with
from data_pipelines.preparing.builders import (
    BuildOptions,
    dataset_folder,
    explain_tensorflow_errors,
    make_builder,
    make_split_generators,
    published_sensor,
)
from data_pipelines.preparing.parallel import WorkerDied, available_cores
from data_pipelines.preparing.summary import (
    CONTACT_SHEET,
    print_bands,
    print_found,
    print_splits,
    written_moments,
)
from data_pipelines.preparing.verify import verify
from data_pipelines.registry import BUILDERS
from data_pipelines.sources.opening import open_folder

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """The command line: prepare a dataset and print what it holds."""
    known, options = _parse(arguments)
    builder = make_builder(known.name, options)
    if known.dry_run:
        folder = dataset_folder(builder, options)
        with explain_tensorflow_errors(builder):
            print_found(make_split_generators(builder, options))
        print(f"{known.name} would be prepared in {folder}; nothing was read or written")
        return 0
    published = published_sensor(builder)
    started = time.monotonic()
    built = build_with(known.name, builder, options, print_found)
    folder = built.folder
    if built.new:
        print(f"{known.name} prepared in {time.monotonic() - started:.1f} s: {folder}")
    else:
        print(f"{known.name} is already prepared in {folder}")
    if built.skipped:
        skipped = f"{len(built.skipped)} skipped, listed in {folder / 'skipped.txt'}"
        print(f"{skipped}: {built.skipped[0]}")
    dataset = open_folder(folder, known.name)
    print_splits(dataset, built.expected)
    if known.verify:
        read = verify(dataset)
        moments = {split: found.moments for split, found in read.items()}
        count = sum(len(found.catalogue.keys) for found in read.values())
        print(f"verified: all {count:,} records read back, and are what was written")
    else:
        moments = written_moments(folder)
    print_bands(dataset, moments, published)
    if (folder / CONTACT_SHEET).is_file():
        print(f"to look at: {folder / CONTACT_SHEET}")
    return 0


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, BuildOptions]:
    parser = _parser()
    known, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}; a config's fields are --config.FIELD=VALUE")
    return known, BuildOptions(
        data_dir=Path(known.data_dir).expanduser(),
        manual_dir=Path(known.manual_dir) if known.manual_dir else None,
        overwrite=known.overwrite,
        workers=known.workers,
        skip=known.on_error == "skip",
        fields=tuple(word.removeprefix("--config.") for word in rest),
        beam_runner=known.beam_runner,
        beam_options=tuple(known.beam_options.split()),
    )


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
        default=available_cores(),
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


class _Stopped(KeyboardInterrupt):
    """A scheduler's signal: cleaned up after as after Ctrl-C."""


def _stop(*_: object) -> None:
    raise _Stopped


def _run(arguments: Sequence[str]) -> int:
    """`main` with what goes wrong told in a line; the exit code."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _stop)
    try:
        return main(arguments)
    except UserError as error_message:
        print(f"error: {error_message}", file=sys.stderr)
        return USER_ERROR
    except WorkerDied as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print("interrupted; nothing half-written is left", file=sys.stderr)
        return STOPPED if isinstance(interrupt, _Stopped) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
