"""What a run leaves when it is done: its figures, how it got them, and pictures for the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.files.writing import write_arrays
from ssl_jax.checkpoints.card import package_versions
from ssl_jax.devices.mesh import jit_for_single_use
from ssl_jax.metrics import Accumulators
from ssl_jax.runs import probe
from ssl_jax.runs.parts import Run
from ssl_jax.training.metric_writer import read_records
from ssl_jax.training.state import TrainState

__all__ = ["summarise_run", "write_predictions", "write_samples"]


def write_samples(run: Run, state: TrainState, folder: Path, examples: int = 8) -> None:
    """A few examples as the objective sees and answers them, for the report: `samples.npz`."""
    if jax.process_index() != 0:
        return
    source = run.samples_source
    chosen = np.linspace(0, len(source) - 1, min(examples, len(source))).astype(int)
    records = [source[int(index)] for index in chosen]
    batch = {name: np.stack([record[name] for record in records]) for name in records[0]}
    variables = jax.device_get(state.variables)
    draw = jit_for_single_use(run.objective.make_samples)
    samples = draw(variables, batch, jax.random.key(run.config.seed))
    write_arrays(folder / "samples.npz", jax.device_get(samples))


def write_predictions(accumulators: Accumulators, folder: Path) -> None:
    """What the final evaluation predicted for each example: `predictions.npz`."""
    if jax.process_index() != 0 or "predictions" not in accumulators:
        return
    rows = dict(accumulators["predictions"].values)
    valid = rows.pop("valid")
    write_arrays(folder / "predictions.npz", {name: x[valid] for name, x in rows.items()})


def summarise_run(
    run: Run,
    folder: Path,
    figures: Mapping[str, float],
    accumulators: Accumulators,
    cost: Mapping[str, Any],
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """What `results.json` holds: the figures, what they were got with, and what that cost.

    Args:
        run: what was trained.
        folder: its workdir, with the log.
        figures: of the final evaluation.
        sums: that they are of.
        cost: in time and memory.
        found: what a search over learning rates found; empty for no search.
    """
    losses = [
        record["loss"]
        for record in read_records(folder / "metrics.jsonl")
        if record["phase"] == "train"
    ]
    summary = {
        "status": "done",
        "objective": run.config.objective.name,
        "config": run.config.to_dict(),
        "steps": run.steps,
        "classes": list(run.card.classes),
        "colours": [list(colour) for colour in run.card.colours],
        "metrics": dict(figures),
        "probe": probe.probe_frozen_backbone(
            run
        ),  # what the same features give without a step of training
        "train": {"first_loss": losses[0], "last_loss": losses[-1]},
        "cost": cost,
        "data": {
            "name": run.config.data.name,
            "bands": list(run.card.sensor.names),
            "train": len(run.source),
            "evaluation": len(run.evaluation_source or ()),
            "examples": run.examples,
            "skipped": run.skipped(),
            "embedded": run.config.data.name.startswith("demo_"),
        },
        "versions": package_versions(),
        "command": sys.argv,
        "search": dict(found),
    }
    if "confusion" in accumulators:
        summary["confusion"] = np.asarray(accumulators["confusion"]).tolist()
    return summary
