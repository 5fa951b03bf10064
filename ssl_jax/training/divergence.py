"""Handling of losses that are not finite or have exploded.

The run stops and reports the step and the examples in its batch; or, if so configured, it restarts
from the newest checkpoint and skips the batch. Skipped batches are recorded in the workdir, so that
a resumed run skips them too.
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.files.writing import write_json
from ssl_jax.devices.processes import decide

__all__ = ["Diverged", "DivergencePolicy", "read_skipped_steps", "record_divergence"]

_FILE_NAME = "bad_losses.json"


class Diverged(Exception):
    """The loss of a step is not finite or has exploded, or gradients keep overflowing float16.

    Attributes:
        step: The number of the step, counted from 1.
        loss: The loss of the step.
    """

    def __init__(self, step: int, loss: float, message: str = "") -> None:
        super().__init__(message or f"the loss of step {step} is {loss:.6g}")
        self.step = step
        self.loss = loss


@dataclass(frozen=True)
class DivergencePolicy:
    """Which losses count as diverged, and how many such batches are skipped.

    Attributes:
        explosion: A loss of at least this many times the first loss of the run has exploded; 0
            disables the check.
        skip: Maximum number of batches to skip before the run stops; 0 to stop at the first.
    """

    explosion: float = 20.0
    skip: int = 0


def read_skipped_steps(workdir: Path) -> list[int]:
    """Return the steps, counted from 1, whose batches the run in `workdir` skips."""
    return [entry["step"] for entry in _read_entries(workdir) if entry["skipped"]]


def record_divergence(
    error: Diverged, objective: str, examples: np.ndarray, policy: DivergencePolicy, workdir: Path
) -> None:
    """Record a diverged loss in the workdir, and whether its batch is skipped from now on.

    Args:
        error: The diverged step and its loss.
        objective: Name of the objective.
        examples: Names or indices (batch_size,) of the examples in the batch.
        policy: How many batches may be skipped.
        workdir: Workdir of the run.

    Raises:
        Diverged: If the batch is not skipped. The message names examples in it and what to do.
    """
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in examples]
    entry = {
        "step": error.step,
        "loss": str(error.loss),  # JSON has no NaN
        "objective": objective,
        "examples": names,
    }
    skip = decide(partial(_write_entry, entry, policy, workdir))
    message = (
        f"objective {objective}: {error}; its batch of {len(names)} holds {', '.join(names[:3])}, "
        f"… (all listed in {workdir / _FILE_NAME})"
    )
    if not skip:
        raise Diverged(
            error.step,
            error.loss,
            f"{message}. The newest checkpoint was saved before this step: check the images for "
            "invalid pixels, lower config.optimizer.learning_rate or lengthen the warm-up; "
            "--config.bad_loss.skip=1 resumes without the batch",
        ) from error
    if jax.process_index() == 0:
        print(
            f"warning: {message}; restarting from the newest checkpoint without it", file=sys.stderr
        )


def _write_entry(entry: dict[str, Any], policy: DivergencePolicy, workdir: Path) -> bool:
    """Add an entry to the file, and return whether its batch is skipped."""
    skip = len(read_skipped_steps(workdir)) < policy.skip
    others = [other for other in _read_entries(workdir) if other["step"] != entry["step"]]
    write_json(workdir / _FILE_NAME, [*others, {**entry, "skipped": skip}])
    return skip


def _read_entries(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / _FILE_NAME
    return json.loads(path.read_text()) if path.exists() else []
