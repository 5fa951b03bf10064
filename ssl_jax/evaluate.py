"""Evaluate a checkpoint from its bundle alone: `python -m ssl_jax.evaluate --checkpoint W`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from data_pipelines.files.writing import write_json
from ssl_jax import terminal
from ssl_jax.devices import cluster
from ssl_jax.runs.evaluation import evaluate_checkpoint

__all__ = ["evaluate_checkpoint", "main"]


def main(arguments: Sequence[str]) -> int:
    """The door."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.evaluate",
        description=(
            "Evaluate a checkpoint. What it needs to know — bands, statistics, classes, network — "
            "stands in the bundle's card; only the dataset must be at hand."
        ),
    )
    parser.add_argument("--checkpoint", required=True, help="a workdir, or a checkpoints/<step>")
    parser.add_argument("--dataset", default="", help="another dataset than the one trained on")
    parser.add_argument("--data_dir", default="", help="where the dataset was prepared")
    parser.add_argument("--split", default="", help="such as test, or all[2:8].rest")
    parser.add_argument("--batch_size", type=int, default=0, help="over all devices")
    parser.add_argument(
        "--stride", type=int, default=0, help="of the window over whole pictures, in pixels"
    )
    parser.add_argument(
        "--flips",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether to average over that window's flips too; otherwise as it was trained",
    )
    parser.add_argument("--json", default="", help="also write the figures to this file")
    known = parser.parse_args(arguments)
    cluster.join_job()
    figures = evaluate_checkpoint(
        known.checkpoint,
        known.dataset,
        known.data_dir,
        known.split,
        known.batch_size,
        known.stride,
        known.flips,
    )
    print_metrics(figures, known.checkpoint)
    if known.json:
        write_json(Path(known.json), figures)
    return 0


def print_metrics(figures: Mapping[str, Any], title: str) -> None:
    """Print figures as a table."""
    table = Table("figure", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


if __name__ == "__main__":
    terminal.run_command(main)
