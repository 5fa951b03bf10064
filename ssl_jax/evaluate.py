"""Evaluation of a checkpoint: `python -m ssl_jax.evaluate --checkpoint W`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from data_pipelines.files.writing import replace_non_finite, write_json
from data_pipelines.profiles.findings import check_accepted
from ssl_jax import terminal
from ssl_jax.checkpoints.finding import find_newest_checkpoint

if TYPE_CHECKING:
    from ssl_jax.runs.evaluation import evaluate_checkpoint

__all__ = ["evaluate_checkpoint", "main"]


def __getattr__(name: str) -> Any:
    if name != "evaluate_checkpoint":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ssl_jax.runs.evaluation import evaluate_checkpoint  # imports JAX, hence only when needed

    return evaluate_checkpoint


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.evaluate",
        description=(
            "Evaluate a checkpoint. Its model card has the bands, statistics, classes and network; "
            "only the prepared dataset is needed besides."
        ),
    )
    parser.add_argument("--checkpoint", required=True, help="workdir, or a checkpoints/<step>")
    parser.add_argument(
        "--dataset", default="", help="dataset to evaluate on (default: that of the training)"
    )
    parser.add_argument(
        "--data_dir", default="", help="folder of prepared datasets (default: that of the config)"
    )
    parser.add_argument(
        "--split",
        default="",
        help="split expression such as test or all[2:8].rest (default: the config's)",
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        default=0,
        help="batch size over all devices (default: that of the training)",
    )
    parser.add_argument(
        "--stride",
        type=int,
        default=0,
        help="stride in pixels of the sliding window over whole images (default: the config's)",
    )
    parser.add_argument(
        "--flips",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="average over the flips of each window (default: the config's)",
    )
    _add_value_arguments(parser)
    parser.add_argument("--json", default="", help="file to write the metrics to, as JSON")
    args = parser.parse_args(argv)
    check_accepted(args.accept, "--accept")
    find_newest_checkpoint(Path(args.checkpoint))  # an error, if there is none
    return _evaluate(args)


def _add_value_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "values of the images",
        "The network sees (value + offset) / scale. The images are compared with those that it "
        "learned, on the checkpoint's model card.",
    )
    terminal.add_value_arguments(group, scale="1", offset="0", record="the file of --json")


def _evaluate(args: argparse.Namespace) -> int:
    # Imported after the arguments were checked: see `terminal`.
    import jax

    from data_pipelines.bands.conversion import UNCHANGED
    from ssl_jax.devices import cluster
    from ssl_jax.runs.evaluation import evaluate_checkpoint

    cluster.join_job()
    metrics = evaluate_checkpoint(
        args.checkpoint,
        args.dataset,
        args.data_dir,
        args.split,
        args.batch_size,
        args.stride,
        args.flips,
        terminal.read_conversion(args) or UNCHANGED,
        args.accept,
    )
    if jax.process_index() == 0:
        print_metrics(metrics, args.checkpoint)
        if args.json:
            write_json(Path(args.json), replace_non_finite(metrics))
    return 0


def print_metrics(metrics: Mapping[str, Any], title: str) -> None:
    """Print metrics as a table."""
    table = Table("metric", "value", title=title)
    for name, value in metrics.items():
        text = f"{value:.4f}" if isinstance(value, float) else ", ".join(value)
        table.add_row(name, text)
    Console().print(table)


if __name__ == "__main__":
    terminal.run_command(main)
