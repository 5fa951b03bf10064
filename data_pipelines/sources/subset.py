"""What a split expression names: its examples, their description, and their whole pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.sources.bad_records import SkippingSource
from data_pipelines.sources.dataset import Dataset
from data_pipelines.sources.images import StoredImage, images_from_blocks, images_from_records
from data_pipelines.sources.records import RecordSource, fingerprint
from data_pipelines.sources.split_expressions import FlagFilter, SplitExpression, split_stratified
from data_pipelines.sources.stored_split import StoredSplit
from data_pipelines.sources.windows import Windows

__all__ = ["Subset", "parse_expression", "select_subset"]


@dataclass(frozen=True, eq=False)
class Subset:
    """The examples of a dataset that a split expression names.

    Attributes:
        dataset: whose examples they are.
        expression: such as `all[2:8].rest`.
        seed: of its random cuts.
        stored: the split that they are of.
        chosen: the examples, of which a bad one raises `BadRecord`.
    """

    dataset: Dataset
    expression: str
    seed: int
    stored: StoredSplit
    chosen: RecordSource | Windows

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def examples(self) -> RecordSource | Windows | SkippingSource:
        """The examples by position; with `bad_records.skip`, bad ones are passed over."""
        bad_records = self.dataset.bad_records
        return SkippingSource(self.chosen, bad_records) if bad_records.skip else self.chosen

    def description(self) -> dict[str, Any]:
        """Which examples these turned out to be, as JSON can hold it.

        Of each class there is the number of examples, where the dataset has a catalogue; the digest
        is the same for the same examples.
        """
        dataset, chosen = self.dataset, self.chosen
        about = {"split": self.expression, "seed": self.seed, "examples": len(self)}
        catalogue = self.stored.catalogue
        if isinstance(chosen, RecordSource) and catalogue and dataset.target in ("label", "labels"):
            labels = catalogue.columns[dataset.target_feature][chosen.order][chosen.rows]
            if labels.ndim == 1:
                labels = labels[:, None] == np.arange(len(dataset.classes))
            about["classes"] = dict(zip(dataset.classes, labels.sum(axis=0).tolist(), strict=True))
        return {**about, "digest": fingerprint(chosen.example_ids())}

    def images(self) -> list[StoredImage]:
        """The whole pictures of the examples, where every pixel is once.

        Where records are cells, windows of a picture may be on either side of a cut: the labels are
        then those that the windows of this subset see. Elsewhere each record is a picture.

        Raises:
            UserError: the records have no masks.
        """
        dataset = self.dataset
        if dataset.target != "mask":
            raise UserError(
                f"dataset {dataset.name}: its records have target {dataset.target!r}; expected "
                "'mask' of pictures"
            )
        bad_records, ignore_label = dataset.bad_records, dataset.ignore_label
        if isinstance(self.chosen, Windows):
            assert dataset.grid is not None
            extents = dataset.info.features["inside"]
            return images_from_blocks(
                self.chosen, dataset.grid.block, extents, bad_records, ignore_label
            )
        return images_from_records(self.chosen, dataset.image_shape[:2], bad_records, ignore_label)


def select_subset(dataset: Dataset, expression: str, seed: int = 0) -> Subset:
    """The examples of a dataset that a split expression names.

    Args:
        dataset: see `opening.open_dataset`.
        expression: such as `train` or `all[2:8].rest`, as
        `data_pipelines.sources.split_expressions` describes.
        seed: of random cuts.

    Raises:
        UserError: the expression is not written as expected, names no split or no example.
    """
    part = parse_expression(dataset, expression)
    stored = StoredSplit(dataset, part.split)
    whole = stored.examples
    rows = _rows(part, stored, seed, f"split {expression!r} of {dataset.name}")
    if not len(rows):
        raise UserError(
            f"split {expression!r}: has none of the {len(whole)} examples of {part.split!r} in "
            f"dataset {dataset.name}; expected a larger share"
        )
    return Subset(dataset, expression, seed, stored, replace(whole, rows=rows))


def parse_expression(dataset: Dataset, expression: str) -> SplitExpression:
    """Take a split expression apart.

    Raises:
        UserError: it is not written as expected, or the dataset has no such split.
    """
    part = SplitExpression.parse(expression)
    if part.split not in dataset.splits:
        raise UserError(
            f"split {expression!r}: dataset {dataset.name} has no split {part.split!r}; it has "
            + ", ".join(dataset.splits)
        )
    return part


def _rows(part: SplitExpression, stored: StoredSplit, seed: int, where: str) -> np.ndarray:
    """Positions in the whole split of the examples that a part names."""
    whole = stored.examples
    chosen = np.arange(len(whole))
    for step in part.steps:
        if isinstance(step, FlagFilter):
            chosen = chosen[stored.flag(step.name, where)[chosen] == step.wanted]
            continue
        if isinstance(whole, Windows) and step.images:
            names, image = np.unique(whole.images()[chosen], return_inverse=True)
            inside = split_stratified(np.zeros(len(names), int), step.share, seed, where)[image]
        else:
            inside = split_stratified(stored.strata()[chosen], step.share, seed, where)
        if isinstance(whole, Windows) and step.rest:
            # Windows overlap: what stands on one side must not be seen from the other.
            chosen = chosen[whole.disjoint_from(chosen[inside])[chosen]]
        else:
            chosen = chosen[inside != step.rest]
    return chosen
