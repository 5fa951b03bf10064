"""Datasets as their builders describe them, before their files are downloaded or prepared."""

from pathlib import Path

import numpy as np

from data_pipelines.preparing.builders import BuildOptions, make_builder
from data_pipelines.sources.dataset import Dataset, check_usable, make_dataset
from data_pipelines.sources.split_expressions import FlagFilter, split_stratified
from data_pipelines.sources.subset import parse_expression

__all__ = ["count_published_examples", "published_dataset"]


def published_dataset(name: str, bands: tuple[str, ...] = (), target: str = "") -> Dataset:
    """Return the description of a dataset without its examples, as its builder publishes it.

    Args:
        name: Dataset name, as for `registry.find_builder`.
        bands: Names of the bands to select; all by default.
        target: Name of the target feature; the builder's by default.

    Returns:
        A dataset as `open_dataset` returns it, but unreadable. Its `splits` hold the builder's
        `expected_examples`, as numbers of windows if examples are windows of images; without
        `expected_examples` there is only the split `all`, with 0. Bands without statistics have
        mean 0 and standard deviation 1.

    Raises:
        UserError: If there is no such builder, the sensor lacks one of the bands, or the builder's
            description depends on the user's files.
    """
    builder = make_builder(name, BuildOptions(Path()))
    sensor = check_usable(name, builder.info)
    if not sensor.measured:
        count = len(sensor.bands)
        sensor = sensor.with_statistics([0.0] * count, [1.0] * count)
    splits = getattr(builder, "expected_examples", {})
    return make_dataset(name, builder.info, sensor, splits, bands, target)


def count_published_examples(dataset: Dataset, split: str) -> int | None:
    """Return the number of examples that a split expression will select.

    Args:
        dataset: A dataset of `published_dataset`.
        split: A split expression, such as `train[10%]`.

    Returns:
        The number of examples, or None if it depends on the examples.

    Raises:
        UserError: If the split expression is invalid or the split does not exist.
    """
    if not any(dataset.splits.values()):
        return None
    expression = parse_expression(dataset, split)
    count = dataset.splits[expression.split]
    for step in expression.steps:
        if isinstance(step, FlagFilter) or (step.rest and dataset.grid):
            return None
        labels = dataset.target if dataset.grid is None else "none"
        if labels == "labels" and "class" in step.size:
            return None
        # Assume balanced classes, so that each has as many examples as possible; the size of a
        # proportional split does not depend on the class distribution.
        strata = np.arange(count) % (len(dataset.classes) if labels == "label" else 1)
        selected = int(split_stratified(strata, step.size, 0, f"split {split!r}").sum())
        count = count - selected if step.rest else selected
    return count
