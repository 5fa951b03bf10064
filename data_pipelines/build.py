"""Prepare a dataset: `python -m data_pipelines.build NAME[/CONFIG] --data_dir D`.

Unlike TFDS's own command, it does not need TensorFlow. It writes ArrayRecord files, under a
temporary name until they are complete.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.errors import INTERRUPTED, STOPPED, USER_ERROR, UserError
from data_pipelines.files.paths import refuse_url
from data_pipelines.names import BUILDERS
from data_pipelines.preparing.parallel import WorkerError, available_cores

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command: prepare a dataset and print a summary of it.

    Args:
        arguments: The command-line arguments, without the program's name.

    Returns:
        The exit code.

    Raises:
        UserError: If the dataset can't be prepared.
    """
    return _build(*_parse_arguments(arguments))


def _build(parsed: argparse.Namespace, fields: Sequence[str]) -> int:
    # Imported after the arguments were parsed, because TFDS takes a second.
    from data_pipelines.preparing import build, builders, summary
    from data_pipelines.preparing.verify import verify
    from data_pipelines.profiles.findings import check_accepted
    from data_pipelines.sources.opening import open_folder

    options = builders.BuildOptions(
        data_dir=Path(parsed.data_dir).expanduser(),
        manual_dir=Path(parsed.manual_dir) if parsed.manual_dir else None,
        overwrite=parsed.overwrite,
        workers=parsed.workers,
        skip=parsed.on_error == "skip",
        fields=tuple(fields),
        beam_runner=parsed.beam_runner,
        beam_options=tuple(parsed.beam_options.split()),
        accept=check_accepted(parsed.accept, "--accept"),
    )
    builder = builders.make_builder(parsed.name, options)
    if parsed.dry_run:
        folder = builders.dataset_folder(builder, options)
        with builders.explain_tensorflow_errors(builder):
            summary.print_input_summary(builders.make_split_generators(builder, options))
        print(f"{parsed.name} would be prepared in {folder}; nothing was read or written")
        return 0
    published = builders.published_sensor(builder)
    started = time.monotonic()
    result = build.build_with(parsed.name, builder, options, summary.print_input_summary)
    folder = result.folder
    if result.new:
        print(f"{parsed.name} prepared in {time.monotonic() - started:.1f} s: {folder}")
    else:
        print(f"{parsed.name} is already prepared in {folder}")
    if result.skipped:
        skipped = f"{len(result.skipped)} skipped, listed in {folder / 'skipped.txt'}"
        print(f"{skipped}: {result.skipped[0]}")
    dataset = open_folder(folder, parsed.name)
    summary.print_splits(dataset, result.expected)
    if parsed.verify:
        contents = verify(dataset)
        moments = {split: content.moments for split, content in contents.items()}
        count = sum(len(content.catalogue.keys) for content in contents.values())
        print(f"verified: all {count:,} records are readable and match the dataset's description")
    else:
        moments = summary.load_moments(folder)
    summary.print_bands(dataset, moments, published)
    summary.print_classes(dataset)
    if result.num_pixels:
        used = sum(split.pixels for split in moments.values())
        print(
            f"used: {used:,} ({used / result.num_pixels:.1%}) of the {result.num_pixels:,} pixels "
            "of the files"
        )
    if (folder / summary.CONTACT_SHEET).is_file():
        print(f"contact sheet: {folder / summary.CONTACT_SHEET}")
    return 0


def _parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the arguments, and return the fields of the dataset's config apart."""
    parser = _make_parser()
    parsed, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if not word.startswith("--config.")]
    if unknown:
        parser.error(
            f"unknown argument {unknown[0]}; expected config fields as --config.FIELD=VALUE"
        )
    return parsed, [word.removeprefix("--config.") for word in rest]


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.build",
        description="Prepare a dataset as ArrayRecord files, once for all later runs.",
        epilog="Any field of the dataset's config can be set with --config.FIELD=VALUE; set the "
        "name of the new config with --config.name=NAME.\n\ndatasets:\n"
        + "\n".join(f"  {name}" for name in BUILDERS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name",
        metavar="NAME[/CONFIG]",
        help="a dataset listed below, a dataset registered with TFDS, or a builder of your own as "
        "package.module:Class or path/to/builder.py:Class",
    )
    parser.add_argument("--data_dir", required=True, help="folder of prepared datasets")
    parser.add_argument(
        "--manual_dir", help="folder with your own files, for datasets that read them"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="prepare again if it is prepared already"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=available_cores(),
        metavar="N",
        help="number of reading processes (default: one per core, here %(default)s)",
    )
    parser.add_argument(
        "--on_error",
        choices=("stop", "skip"),
        default="stop",
        help="at an invalid image, mask or label, stop with an error (default), or skip it, count "
        "it and list it in skipped.txt",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="report what the files contain, without reading or writing examples",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read all records back, count them and compare them with the dataset's description",
    )
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="CHECK",
        help="pass over a check of the pixels that refuses the dataset, by the name that its "
        "message gives; recorded in profiles.json",
    )
    _add_beam_arguments(parser)
    return parser


def _add_beam_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--beam_runner",
        default="",
        metavar="RUNNER",
        help="prepare with this Apache Beam runner instead of --workers: DirectRunner, "
        "DataflowRunner, FlinkRunner, SparkRunner; needs pip install 'ssl_jax[beam]'",
    )
    parser.add_argument(
        "--beam_options", default="", metavar="OPTIONS", help="Beam's options, in one quoted string"
    )


class _PreemptionSignal(KeyboardInterrupt):
    """A scheduler's signal to stop, which is handled like Ctrl-C."""


def _raise_preemption(*_: object) -> None:
    raise _PreemptionSignal


def _run(arguments: Sequence[str]) -> int:
    """Run `main`, print errors in one line, and return the exit code."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _raise_preemption)
    try:
        for argument in arguments:
            refuse_url(argument)
        return main(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except WorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print("interrupted; no partial files were left", file=sys.stderr)
        return STOPPED if isinstance(interrupt, _PreemptionSignal) else INTERRUPTED


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
