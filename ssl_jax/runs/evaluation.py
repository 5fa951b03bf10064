"""Evaluation of a checkpoint on a dataset, without the config file or the workdir of its run."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data_pipelines.bands.conversion import UNCHANGED, Conversion
from data_pipelines.errors import UserError
from data_pipelines.profiles.findings import Remedies, check_accepted
from data_pipelines.profiles.stored import observe_dataset
from data_pipelines.sources.bad_records import BadRecords
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.loader import evaluation_batches
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import Subset, select_subset
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.inputs import check_images
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.devices.mesh import make_data_mesh, replicate
from ssl_jax.devices.processes import decide
from ssl_jax.objectives import Objective
from ssl_jax.runs import parts
from ssl_jax.runs.inference import warn_of_other_answers
from ssl_jax.training import loop
from ssl_jax.training.steps import make_evaluation_step

__all__ = ["evaluate_checkpoint"]

_REMEDIES = Remedies(
    "--scale {}",
    "--offset {}",
    "prepare the dataset with --config.bands={}",
    "--accept {}",
)


def evaluate_checkpoint(
    path: str | Path,
    dataset: str = "",
    data_dir: str = "",
    split: str = "",
    batch_size: int = 0,
    stride: int = 0,
    flips: bool | None = None,
    conversion: Conversion = UNCHANGED,
    accept: Sequence[str] = (),
) -> dict[str, Any]:
    """Compute the metrics of the newest checkpoint at `path`.

    Every example, or every pixel in segmentation, counts exactly once.

    Args:
        path: Workdir of a run, or one of its checkpoints.
        dataset: Name of a dataset with the bands and classes on the model card; by default the
            card's own.
        data_dir: Folder in which the dataset was prepared; by default the config's.
        split: Split expression such as `test` or `all[2:8].rest`; by default the config's
            evaluation split.
        batch_size: Examples per batch over all devices; by default the config's. It is rounded up
            to a multiple of the number of devices.
        stride: Stride in pixels of the sliding window on whole images; by default the config's.
        flips: Whether the logits of a window are averaged over its flips; by default the config's.
        conversion: Conversion of the dataset's numbers to those that the network learned.
        accept: Names of checks of the images to pass over.

    Returns:
        The metrics by name; and `accepted`, the names of the checks that found something and were
        passed over, if there are any.

    Raises:
        UserError: If there is no checkpoint, its card doesn't match its arrays, the dataset or the
            split doesn't exist, the dataset lacks the bands or has other classes, or its images are
            not like those that the network learned.
    """
    checkpoint = loading.decide_checkpoint(Path(path))
    card = read_card(checkpoint)
    objective = check_network(checkpoint, card, parts.make_objective)
    config = card.config
    data = replace(_open_dataset(path, card, dataset, data_dir), conversion=conversion)
    split = split or config.data.evaluation
    if not split:
        raise UserError(
            f"{path}: its config.data.evaluation is empty; expected a split: name one with "
            f"--split, one of {', '.join(data.splits)}"
        )
    accepted = decide(partial(_check_images, card, data, split, accept))
    mesh = make_data_mesh()
    loaded = loading.load_variables(checkpoint)
    decide(partial(warn_of_other_answers, path, card, objective, loaded))
    variables = replicate(loaded, mesh)
    batch_size = batch_size or config.batch_size
    batch_size = -(-batch_size // mesh.size) * mesh.size
    config = _override_sliding_window(config, card, stride, flips)
    subset = select_subset(data, split, config.data.split_seed)
    metrics = _compute_metrics(config, objective, subset, variables, mesh, batch_size)
    return {**metrics, **accepted}


def _compute_metrics(
    config: ConfigDict,
    objective: Objective,
    subset: Subset,
    variables: Any,
    mesh: Mesh,
    batch_size: int,
) -> dict[str, float]:
    """Evaluate the examples of a subset, or its whole images with a sliding window."""
    evaluate_images = parts.configure_image_evaluation(config, objective, subset, mesh)
    if evaluate_images is not None:
        return objective.compute_metrics(evaluate_images(variables, None))
    batches = evaluation_batches(
        subset.examples, batch_size, jax.process_index(), jax.process_count()
    )
    return objective.compute_metrics(
        loop.evaluate(make_evaluation_step(objective, mesh), variables, batches, mesh)
    )


def _check_images(
    card: ModelCard, data: Dataset, split: str, accept: Sequence[str]
) -> dict[str, list[str]]:
    """Compare a sample of the images with those that the network learned.

    Returns:
        `accepted`, the names of the checks that found something and were passed over, if any.

    Raises:
        UserError: If the images are not like the learned ones.
    """
    names = check_accepted(accept, "--accept")
    observed = observe_dataset(data, split, card.config.data.split_seed)
    if observed is None:
        return {}
    subject = f"dataset {data.name}"
    accepted = check_images(observed, data.sensor.resolution, card, subject, _REMEDIES, names)
    return {"accepted": accepted} if accepted else {}


def _open_dataset(path: str | Path, card: ModelCard, name: str, data_dir: str) -> Dataset:
    """Open the named dataset, or by default the card's own, and check its classes."""
    config = card.config
    if not name:
        _check_dataset_name(config.data.name, path)
    dataset = open_dataset(
        name or config.data.name,
        data_dir or config.data.data_dir,
        card.sensor.names,
        "" if name else config.data.get("target", ""),
        BadRecords(config.data.get("on_error", "stop")),
    )
    if card.classes and dataset.classes != card.classes:
        raise UserError(
            f"dataset {dataset.name}: found the classes {', '.join(dataset.classes) or 'none'}; "
            f"the checkpoint expects {', '.join(card.classes) or 'none'}"
        )
    return dataset


def _check_dataset_name(name: str, path: str | Path) -> None:
    """Check that a card doesn't name a Python file, whose code would be executed.

    Raises:
        UserError: If it does.
    """
    if ".py" in name:
        raise UserError(
            f"{path}: was trained on dataset {name}, a Python file; a model card is not enough to "
            f"execute it: if you trust the file, add --dataset {name}"
        )


def _override_sliding_window(
    config: ConfigDict, card: ModelCard, stride: int, flips: bool | None
) -> ConfigDict:
    """Replace the given fields of `config.evaluation`.

    If the config has no such section, the window is as large as the images on the card.
    """
    fields: dict[str, Any] = {"stride": stride} if stride else {}
    if flips is not None:
        fields["flips"] = flips
    if not fields:
        return config
    section = {"window": card.image_shape[0], **config.get("evaluation", {}), **fields}
    return ConfigDict({**config, "evaluation": section})
