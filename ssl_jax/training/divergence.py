"""What a run does about a loss that is no longer a number, or explodes.

It stops, with a report of the step and of the examples in its batch; or, if it is told to, it goes
back to the newest bundle and leaves the batch out. What was left out stands in the workdir, so that
a run that is interrupted goes on without it too.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from data_pipelines.files.writing import write_json

__all__ = ["Diverged", "DivergencePolicy", "read_skipped_steps", "record_divergence"]

_FILE = "bad_losses.json"


class Diverged(Exception):
    """The loss of a step is no longer a number, or has exploded.

    Attributes:
        step: the number of the step, the first being 1.
        loss: its loss.
    """

    def __init__(self, step: int, loss: float, told: str = "") -> None:
        super().__init__(told or f"the loss of step {step} is {loss:.6g}")
        self.step = step
        self.loss = loss


@dataclass(frozen=True)
class DivergencePolicy:
    """What is a bad loss, and what is done about it.

    Attributes:
        explosion: a loss this many times the run's first one has exploded; 0 for never.
        skip: how many batches may be left out before the run stops after all; 0 to stop at once.
    """

    explosion: float = 20.0
    skip: int = 0


def read_skipped_steps(workdir: Path) -> frozenset[int]:
    """The steps, counted from 1, whose batch is left out of the run in `workdir`."""
    return frozenset(entry["step"] for entry in _entries(workdir) if entry["skipped"])


def record_divergence(
    error: Diverged, objective: str, examples: np.ndarray, bad: DivergencePolicy, workdir: Path
) -> None:
    """Write down that a loss was bad and whether its batch is left out from now on.

    Args:
        error: what happened.
        objective: its name.
        examples: names or numbers (batch_size,) of the examples in the batch.
        bad: what is to be done about it.
        workdir: of the run.

    Raises:
        Diverged: the batch is not left out; says which examples it holds and what to do.
    """
    entries = _entries(workdir)
    skip = len(read_skipped_steps(workdir)) < bad.skip
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in examples]
    entry = {
        "step": error.step,
        "loss": str(error.loss),  # JSON has no NaN
        "objective": objective,
        "examples": names,
        "skipped": skip,
    }
    others = [other for other in entries if other["step"] != error.step]
    if jax.process_index() == 0:
        write_json(workdir / _FILE, [*others, entry])
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("bad loss recorded")
    told = (
        f"the loss of step {error.step} of objective {objective} is {error.loss:.6g}; its batch of "
        f"{len(names)} holds {', '.join(names[:3])}, … (all of them in {workdir / _FILE})"
    )
    if not skip:
        raise Diverged(
            error.step,
            error.loss,
            f"{told}. The newest bundle holds a state before: look for bad pixels, lower "
            "config.optimizer.learning_rate or lengthen the warm-up; --config.bad_loss.skip=1 "
            "goes on without the batch",
        ) from error
    if jax.process_index() == 0:
        print(f"warning: {told}; going back and on without it", file=sys.stderr)


def _entries(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / _FILE
    return json.loads(path.read_text()) if path.exists() else []
