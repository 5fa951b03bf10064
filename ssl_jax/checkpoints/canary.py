"""The canary: a network's answers to a few synthetic images, recorded on the model card.

Whoever loads the checkpoint elsewhere can compute them again: if the answers differ by more than
rounding, the machine, a library or the weights are not as they were. The images are made from the
profile of the training images, of which they have the range but no pixel; only the answers are
stored.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from data_pipelines.profiles.profile import PERCENTS, DataProfile
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.devices.mesh import jit_for_single_use
from ssl_jax.objectives import Objective

__all__ = ["compare_canary", "make_canary", "make_canary_images"]

_IMAGES = 2
_ANSWERS = 64  # numbers stored of each image
# Relative error of the answers that is rounding, by the precision that they were computed in. GPUs
# multiply float32 matrices with ten bits of mantissa.
_TOLERANCES = {"float32": 0.01, "float16": 0.02, "bfloat16": 0.1}
# Share of labels that may differ: two classes can be almost equally likely.
_LABEL_TOLERANCE = 0.1
_Answer = Callable[[dict[str, Any]], np.ndarray]


def make_canary_images(profile: DataProfile) -> np.ndarray:
    """Make synthetic images whose digital numbers are in the range of a profile's.

    They are waves, so that no version of a random number generator matters.

    Returns:
        (images, height, width, bands) in the profile's dtype.
    """
    height, width = profile.image_size
    y, x = np.mgrid[:height, :width] / 16.0
    images = np.empty((_IMAGES, height, width, len(profile.bands)), profile.dtype)
    for image in range(_IMAGES):
        for index, band in enumerate(profile.bands):
            phase = x * (1 + image) + y * (2 - image) + 0.1 * index
            percent = 50 + 45 * np.sin(phase) * np.cos(0.37 * y + image)
            images[image, ..., index] = np.round(np.interp(percent, PERCENTS, band.quantiles))
    return images


def make_canary(
    card: ModelCard, objective: Objective, precision: str
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Make a function that computes what `ModelCard.canary` holds.

    Args:
        card: The model card, with the profile of the training images.
        objective: The objective, which predicts.
        precision: The dtype of its arithmetic.

    Returns:
        A function from the variables, on the host or on one device, to the canary in JSON types;
        empty if the card has no profile or the answers are not finite.
    """
    answer = _make_answer(card, objective)

    def compute(variables: dict[str, Any]) -> dict[str, Any]:
        answers = answer(variables) if answer else np.array(np.nan)
        if not np.isfinite(answers).all():
            return {}
        rounded = [[float(f"{value:.6g}") for value in row] for row in answers.tolist()]
        return {"precision": precision, "answers": rounded}

    return compute


def compare_canary(card: ModelCard, objective: Objective, variables: dict[str, Any]) -> str:
    """Compute the canary of a checkpoint again, and compare it with the one on its card.

    Args:
        card: The model card.
        objective: The objective.
        variables: The checkpoint's variables.

    Returns:
        How the answers differ by more than rounding; empty if they don't, or there is no canary.
    """
    answer = _make_answer(card, objective)
    if answer is None or not card.canary:
        return ""
    expected = np.array(card.canary["answers"], np.float64)
    found = answer(variables)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return f"its answers have shape {found.shape} or are not finite, recorded {expected.shape}"
    if card.target == "mask":
        error, tolerance = float(np.mean(found != expected)), _LABEL_TOLERANCE
        measure = "of the labels of its canary differ"
    else:
        size = max(float(np.linalg.norm(expected)), 1e-6)
        error = float(np.linalg.norm(found - expected)) / size
        tolerance = _TOLERANCES.get(card.canary["precision"], _TOLERANCES["float32"])
        measure = "is the relative error of its canary's answers"
    return "" if error <= tolerance else f"{error:.2%} {measure}, expected at most {tolerance:.0%}"


def _make_answer(card: ModelCard, objective: Objective) -> _Answer | None:
    """Make the function that answers the canary's images; None if the card has no profile."""
    if card.profile is None:
        return None
    images = make_canary_images(card.profile.select(card.sensor.names))
    predict = jit_for_single_use(objective.predict)

    def answer(variables: dict[str, Any]) -> np.ndarray:
        predictions = np.asarray(jax.device_get(predict(variables, images)), np.float64)
        flat = predictions.reshape(_IMAGES, -1)
        return flat[:, :: -(-flat.shape[1] // _ANSWERS)]

    return answer
