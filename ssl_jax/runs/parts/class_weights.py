"""The weights of classes in a loss: numbers, or `balanced` by how often each class occurs."""

import dataclasses
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.sources.subset import Subset

__all__ = ["balance", "drop_balanced"]

_BALANCED = ("balanced", ("balanced",), ["balanced"])


def drop_balanced(section: dict[str, Any]) -> dict[str, Any]:
    """Return a section of an objective without `class_weights` that depend on the examples.

    A trained network is loaded without its dataset, and computes no loss that is weighted.
    """
    weights = section.get("class_weights", ())
    if weights in _BALANCED:
        return {name: value for name, value in section.items() if name != "class_weights"}
    return section if isinstance(weights, tuple) else {**section, "class_weights": tuple(weights)}


def balance(objective: Any, class_weights: Any, train: Subset) -> Any:
    """Return an objective with the weights of balanced classes, if its config asks for these.

    As in scikit-learn, the weight of a class is n / (k · n of the class) for k classes with n
    examples or pixels together, so that the average weight is 1; that of a class which doesn't
    occur is 0.

    Args:
        objective: The objective, without weights.
        class_weights: The field of its config.
        train: The training examples.

    Raises:
        UserError: If the dataset's catalogue doesn't count the classes.
    """
    if class_weights not in _BALANCED:
        return objective
    counts = train.count_classes()
    if counts is None:
        raise UserError(
            f"config.objective.class_weights: found balanced, but dataset {train.dataset.name} has "
            "no counts of its classes; expected a number for each class, or the dataset prepared "
            "again with --overwrite"
        )
    kept = getattr(objective, "kept", range(len(train.dataset.classes)))
    counts = np.array([counts[i] if i in kept else 0 for i in range(len(train.dataset.classes))])
    average = counts.sum() / max(np.count_nonzero(counts), 1)
    weights = np.divide(average, counts, out=np.zeros(len(counts)), where=counts > 0)
    return dataclasses.replace(objective, class_weights=tuple(weights.tolist()))
