"""Evaluating a checkpoint from itself and a dataset alone."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import BadRecords
from data_pipelines.sources.loader import evaluation_batches
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.devices.mesh import make_data_mesh, replicate
from ssl_jax.runs import parts
from ssl_jax.training import loop

__all__ = ["evaluate_checkpoint"]


def evaluate_checkpoint(
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
    objective = check_network(path, card, parts.make_objective)
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
    mesh = make_data_mesh()
    variables = replicate(loading.load_variables(Path(path)), mesh)
    rows = batch_size or config.batch_size
    rows = -(-rows // mesh.size) * mesh.size
    config = _sliding_otherwise(config, card, stride, flips)
    subset = select_subset(data, split, config.data.split_seed)
    if over_pictures := parts.configure_image_evaluation(config, objective, subset, mesh, rows):
        return objective.compute_metrics(over_pictures(variables, None))
    batches = evaluation_batches(subset.examples, rows, jax.process_index(), jax.process_count())
    return objective.compute_metrics(
        loop.evaluate(loop.make_evaluation_step(objective, mesh), variables, batches, mesh)
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
