"""A dataset as its builder describes it, before anything is prepared or even there."""

from pathlib import Path

import numpy as np

from data_pipelines.preparing.builders import BuildOptions, make_builder
from data_pipelines.sources.dataset import Dataset, check_usable, make_dataset
from data_pipelines.sources.split_expressions import FlagFilter, split_stratified
from data_pipelines.sources.subset import parse_expression

__all__ = ["count_published_examples", "published_dataset"]


def published_dataset(name: str, bands: tuple[str, ...] = (), target: str = "") -> Dataset:
    """What `open_dataset` will open, as far as the builder knows; it can't be read.

    Its `splits` hold the builder's `expected_examples`, windows where there are such, and only
    `all`, with 0, where the builder doesn't say. Bands that nobody has measured yet have mean 0 and
    deviation 1.

    Raises:
        UserError: no such builder, none of these bands, or it reads whatever the user brings.
    """
    builder = make_builder(name, BuildOptions(Path()))
    sensor = check_usable(name, builder.info)
    if not sensor.measured:
        count = len(sensor.bands)
        sensor = sensor.with_statistics([0.0] * count, [1.0] * count)
    splits = getattr(builder, "expected_examples", {})
    return make_dataset(name, builder.info, sensor, splits, bands, target)


def count_published_examples(dataset: Dataset, split: str) -> int | None:
    """How many examples a part of a split will hold; None where that takes the examples to tell.

    Raises:
        UserError: the split is not written as expected or does not exist.
    """
    if not any(dataset.splits.values()):
        return None
    part = parse_expression(dataset, split)
    count = dataset.splits[part.split]
    for step in part.steps:
        if isinstance(step, FlagFilter) or (step.rest and dataset.grid):
            return None
        labels = dataset.target if dataset.grid is None else "none"
        if labels == "labels" and "class" in step.share:
            return None
        # As many of each class as there can be; a proportion takes the same of any.
        strata = np.arange(count) % (len(dataset.classes) if labels == "label" else 1)
        inside = int(split_stratified(strata, step.share, 0, f"split {split!r}").sum())
        count = count - inside if step.rest else inside
    return count
