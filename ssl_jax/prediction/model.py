"""The network of a checkpoint, as maps are made with it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipelines.errors import UserError
from ssl_jax.checkpoints import loading
from ssl_jax.checkpoints.card import ModelCard
from ssl_jax.checkpoints.manifest import MANIFEST
from ssl_jax.checkpoints.validation import check_network, read_card
from ssl_jax.objectives import Segmentation
from ssl_jax.runs import parts
from ssl_jax.runs.inference import warn_of_other_answers
from ssl_jax.scenes import SlidingWindow

__all__ = ["MapModel", "open_map_model"]


@dataclass(frozen=True)
class MapModel:
    """A segmentation network with its sliding window.

    Attributes:
        name: The checkpoint's path, for messages.
        digest: A hash of the checkpoint's files.
        card: The model card.
        objective: The objective, with the network.
        variables: `params` and `batch_stats`, on the host.
        sliding: The sliding window.
    """

    name: str
    digest: str
    card: ModelCard
    objective: Segmentation
    variables: dict[str, Any]
    sliding: SlidingWindow


def open_map_model(
    path: str | Path, window: int = 0, stride: int = 0, flips: bool | None = None
) -> MapModel:
    """Open the newest checkpoint at `path`.

    Args:
        path: Workdir of a run, or one of its checkpoints.
        window: Side of the sliding window, in pixels; by default that of the config's evaluation,
            or else of the images that the network was trained on.
        stride: Distance between neighbouring windows, in pixels; by default the config's, at most
            the window, or else half the window.
        flips: Whether the logits of a window are averaged over its flips; by default the config's.

    Raises:
        UserError: If there is no checkpoint, its card doesn't match its arrays, it has no head for
            segmentation, or the stride isn't between 1 and the window.
    """
    checkpoint = loading.decide_checkpoint(Path(path))
    card = read_card(checkpoint)
    objective = check_network(checkpoint, card, parts.make_objective)
    if not isinstance(objective, Segmentation):
        raise UserError(
            f"checkpoint {path}: its objective is {card.config.objective.name}, which has no class "
            "for each pixel; expected segmentation: train configs/transfer/potsdam_upernet.py or "
            "another of its kind from this backbone"
        )
    variables = loading.load_variables(checkpoint)
    warn_of_other_answers(path, card, objective, variables)
    configured = card.config.get("evaluation", {})
    window = window or configured.get("window", card.image_shape[0])
    stride = stride or min(configured.get("stride", 0), window) or max(1, window // 2)
    flips = bool(configured.get("flips", False)) if flips is None else flips
    try:
        sliding = SlidingWindow(window, stride, flips)
    except ValueError as error:
        raise UserError(f"--stride or --window: {error}") from error
    manifest = (checkpoint / MANIFEST).read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()[:16]
    return MapModel(str(path), digest, card, objective, variables, sliding)
