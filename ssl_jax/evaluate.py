"""Evaluate a checkpoint from its bundle alone: `python -m ssl_jax.evaluate --checkpoint W`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from data_pipelines.errors import UserError
from data_pipelines.sources.dataset import open_dataset
from data_pipelines.sources.loader import evaluation_batches
from data_pipelines.sources.skipping import BadRecords
from ssl_jax import terminal
from ssl_jax.checkpoints import checkpoint
from ssl_jax.checkpoints.bundle import expect_network, read_card
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices import cluster
from ssl_jax.devices.mesh import data_mesh, replicate
from ssl_jax.runs import parts
from ssl_jax.training import loop
from ssl_jax.training.logs import write_json

__all__ = ["evaluate", "main"]


def evaluate(
    path: str | Path,
    dataset: str = "",
    data_dir: str = "",
    split: str = "",
    batch_size: int = 0,
    stride: int = 0,
    flips: bool | None = None,
) -> dict[str, float]:
    """Figures of the newest bundle at `path`; every example or pixel counts exactly once.

    Args:
        path: a run's workdir or one of its bundles.
        dataset: another dataset than the card's; it must have the card's bands and classes.
        data_dir: where it was prepared, if not where the card says.
        split: such as `test` or `all[2:8].rest`; the config's evaluation split by default.
        batch_size: over all devices; the config's by default.
        stride: of the window that slides over pictures, in pixels; the config's by default.
        flips: whether that window is also seen flipped; as the config has it by default.

    Raises:
        UserError: no checkpoint, one whose card isn't that of its arrays, no such data, or data of
            other bands or classes.
    """
    card = read_card(path)
    objective = expect_network(path, card, parts.objective)
    config = card.config
    if not dataset:
        _expect_no_code(config.data.name, path)
    data = open_dataset(
        dataset or config.data.name,
        data_dir or config.data.data_dir,
        card.sensor.names,
        "" if dataset else config.data.get("target", ""),
        BadRecords(config.data.get("on_error", "stop")),
    )
    if card.classes and data.classes != card.classes:
        raise UserError(
            f"dataset {data.name}: has the classes {', '.join(data.classes) or 'none'}; the "
            f"checkpoint knows {', '.join(card.classes) or 'none'}"
        )
    split = split or config.data.evaluation
    if not split:
        raise UserError(
            f"config.data.evaluation of {path} is empty; name a split with --split, one of "
            f"{', '.join(data.splits)}"
        )
    mesh = data_mesh()
    variables = replicate(checkpoint.load_variables(Path(path)), mesh)
    rows = batch_size or config.batch_size
    rows = -(-rows // mesh.size) * mesh.size
    config = _sliding_otherwise(config, card, stride, flips)
    if over_pictures := parts.over_pictures(config, objective, data, split, mesh, rows):
        return objective.metrics(over_pictures(variables, None))
    batches = evaluation_batches(
        data.source(split, config.data.split_seed), rows, jax.process_index(), jax.process_count()
    )
    return objective.metrics(
        loop.evaluate(loop.evaluation_step(objective, mesh), variables, batches, mesh)
    )


def _expect_no_code(name: str, path: str | Path) -> None:
    """A builder in a file is a program; a checkpoint from elsewhere doesn't get to run one.

    Raises:
        UserError: `name` is that of a file.
    """
    if ".py" in name:
        raise UserError(
            f"{path}: was trained on dataset {name}, a Python file, and a card is not enough to "
            f"run it; if it is yours, name it yourself: --dataset {name}"
        )


def _sliding_otherwise(
    config: ConfigDict, card: ModelCard, stride: int, flips: bool | None
) -> ConfigDict:
    """The config with its window sliding as asked; if it has none, one as large as its images."""
    asked: dict[str, Any] = {"stride": stride} if stride else {}
    if flips is not None:
        asked["flips"] = flips
    if not asked:
        return config
    section = {"window": card.image_shape[0], **config.get("evaluation", {}), **asked}
    return ConfigDict({**config, "evaluation": section})


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
    cluster.join()
    figures = evaluate(
        known.checkpoint,
        known.dataset,
        known.data_dir,
        known.split,
        known.batch_size,
        known.stride,
        known.flips,
    )
    show(figures, known.checkpoint)
    if known.json:
        write_json(Path(known.json), figures)
    return 0


def show(figures: Mapping[str, Any], title: str) -> None:
    """Print figures as a table."""
    table = Table("figure", "value", title=title)
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


if __name__ == "__main__":
    terminal.run(main)
