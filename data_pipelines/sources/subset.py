"""Subsets: the examples of a split expression, their description, and their full images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import SkippingSource
from data_pipelines.sources.catalogue import MASK_PIXELS
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.images import StoredImage, images_from_blocks, images_from_records
from data_pipelines.sources.records import RecordSource, fingerprint
from data_pipelines.sources.split_expressions import FlagFilter, SplitExpression, split_stratified
from data_pipelines.sources.stored_split import StoredSplit
from data_pipelines.sources.windows import Windows

__all__ = ["Subset", "parse_expression", "select_subset"]


@dataclass(frozen=True, eq=False)
class Subset:
    """The examples of a dataset that a split expression selects.

    Attributes:
        dataset: The dataset.
        expression: The split expression, such as `all[2:8].rest`.
        seed: Seed of its random splits.
        stored: The split that the examples are taken from.
        selected: The examples; an unreadable one raises `BadRecord`.
    """

    dataset: Dataset
    expression: str
    seed: int
    stored: StoredSplit
    selected: RecordSource | Windows

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def examples(self) -> RecordSource | Windows | SkippingSource:
        """The examples by position; with `bad_records.skip`, unreadable ones are skipped."""
        bad_records = self.dataset.bad_records
        return SkippingSource(self.selected, bad_records) if bad_records.skip else self.selected

    def description(self) -> dict[str, Any]:
        """Describe the examples, in JSON types.

        Returns:
            `split` (the expression), `seed`, `examples` (their number), `classes` (number of
            examples of each class, if the dataset has labels and a catalogue) and `digest`, which
            is the same for the same examples.
        """
        dataset, selected = self.dataset, self.selected
        description = {"split": self.expression, "seed": self.seed, "examples": len(self)}
        counts = self.count_classes() if dataset.target in ("label", "labels") else None
        if isinstance(selected, RecordSource) and counts is not None:
            description["classes"] = dict(zip(dataset.classes, counts.tolist(), strict=True))
        return {**description, "digest": fingerprint(selected.example_ids())}

    def count_classes(self) -> np.ndarray | None:
        """Count the examples or, in masks, the pixels of each class.

        Returns:
            (classes,) int, of masks (classes + 1,), last the unlabelled pixels; the pixels of
            windows that overlap count in each. None if the dataset's catalogue doesn't know.
        """
        dataset, selected = self.dataset, self.selected
        column = MASK_PIXELS if dataset.target == "mask" else dataset.target_feature
        catalogue = self.stored.catalogue
        if catalogue is None or column not in catalogue.columns:
            return None
        if isinstance(selected, Windows):
            positions = selected.block_rows[selected.rows].reshape(-1)
            values = catalogue.columns[column][selected.blocks.order][positions]
        else:
            values = catalogue.columns[column][selected.order][selected.rows]
        if values.ndim == 1:
            return np.bincount(values, minlength=len(dataset.classes))
        return values.sum(axis=0, dtype=np.int64)

    def images(self) -> list[StoredImage]:
        """Return the full images of the examples, in which every pixel occurs once.

        If records are blocks, a subset and its complement may contain windows of the same image;
        only the labels inside the windows of this subset are then needed. Otherwise each record is
        an image.

        Raises:
            UserError: If the records have no masks.
        """
        dataset = self.dataset
        if dataset.target != "mask":
            raise UserError(
                f"dataset {dataset.name}: its records have target {dataset.target!r}; expected "
                "images with target 'mask'"
            )
        bad_records, ignore_label = dataset.bad_records, dataset.ignore_label
        if isinstance(self.selected, Windows):
            assert dataset.grid is not None
            extents = dataset.info.features["inside"]
            return images_from_blocks(
                self.selected, dataset.grid.block, extents, bad_records, ignore_label
            )
        return images_from_records(
            self.selected, dataset.image_shape[:2], bad_records, ignore_label
        )


def select_subset(dataset: Dataset, expression: str, seed: int = 0) -> Subset:
    """Select the examples of a split expression.

    Args:
        dataset: See `opening.open_dataset`.
        expression: Such as `train` or `all[2:8].rest`; see
            `data_pipelines.sources.split_expressions`.
        seed: Seed of random splits.

    Raises:
        UserError: If the syntax of the expression is invalid, there is no such split, or no example
            is selected.
    """
    parsed = parse_expression(dataset, expression)
    stored = StoredSplit(dataset, parsed.split)
    examples = stored.examples
    rows = _select_rows(parsed, stored, seed, f"split {expression!r} of {dataset.name}")
    if not len(rows):
        raise UserError(
            f"split {expression!r}: has none of the {len(examples)} examples of {parsed.split!r} "
            f"in dataset {dataset.name}; expected a larger fraction"
        )
    return Subset(dataset, expression, seed, stored, replace(examples, rows=rows))


def parse_expression(dataset: Dataset, expression: str) -> SplitExpression:
    """Parse a split expression, and check that the dataset has its split.

    Args:
        dataset: The dataset.
        expression: See `select_subset`.

    Raises:
        UserError: If the syntax is invalid, or the dataset has no such split.
    """
    parsed = SplitExpression.parse(expression)
    if parsed.split not in dataset.splits:
        raise UserError(
            f"split {expression!r}: dataset {dataset.name} has no split {parsed.split!r}; it has "
            + ", ".join(dataset.splits)
        )
    return parsed


def _select_rows(
    expression: SplitExpression, stored: StoredSplit, seed: int, error_prefix: str
) -> np.ndarray:
    """Return the indices in the full split of the examples that an expression selects."""
    examples = stored.examples
    rows = np.arange(len(examples))
    for step in expression.steps:
        if isinstance(step, FlagFilter):
            rows = rows[stored.load_flag(step.name, error_prefix)[rows] == step.value]
            continue
        if isinstance(examples, Windows) and step.images:
            names, image = np.unique(examples.find_images()[rows], return_inverse=True)
            strata = np.zeros(len(names), int)
            selected = split_stratified(strata, step.size, seed, error_prefix)[image]
        else:
            selected = split_stratified(stored.load_strata()[rows], step.size, seed, error_prefix)
        if isinstance(examples, Windows) and step.rest:
            # Windows overlap: the complement must not contain pixels of the selected windows.
            rows = rows[examples.disjoint_from(rows[selected])[rows]]
        else:
            rows = rows[selected != step.rest]
    return rows
