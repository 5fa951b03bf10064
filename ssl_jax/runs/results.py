"""The files that a finished run leaves: the summary of its results, samples and predictions."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines.files.writing import replace_non_finite, write_arrays, write_json
from ssl_jax.checkpoints.card import package_versions
from ssl_jax.devices.mesh import jit_for_single_use
from ssl_jax.devices.processes import decide
from ssl_jax.metrics import Accumulators
from ssl_jax.runs import probe
from ssl_jax.runs.parts import Run
from ssl_jax.training.metric_writer import read_records
from ssl_jax.training.state import TrainState

__all__ = ["summarise_run", "write_predictions", "write_results", "write_samples"]


def write_samples(run: Run, state: TrainState, folder: Path, num_examples: int = 8) -> None:
    """Write `samples.npz`: a few examples with the objective's outputs, for the report.

    Args:
        run: The run.
        state: Its last state.
        folder: Its workdir.
        num_examples: Maximum number of examples, spread evenly over the source.
    """
    if jax.process_index() != 0:
        return
    source = run.samples_source
    positions = np.linspace(0, len(source) - 1, min(num_examples, len(source))).astype(int)
    records = [source[int(position)] for position in positions]
    batch = {name: np.stack([record[name] for record in records]) for name in records[0]}
    variables = jax.device_get(state.variables)
    make_samples = jit_for_single_use(run.objective.make_samples)
    samples = make_samples(variables, batch, jax.random.key(run.config.seed))
    write_arrays(folder / "samples.npz", jax.device_get(samples))


def write_predictions(accumulators: Accumulators, folder: Path) -> None:
    """Write `predictions.npz`: the final evaluation's prediction for each example.

    Args:
        accumulators: Those of the final evaluation; nothing is written if they have no
            `predictions`.
        folder: The workdir of the run.
    """
    if jax.process_index() != 0 or "predictions" not in accumulators:
        return
    rows = dict(accumulators["predictions"].values)
    valid = rows.pop("valid")
    write_arrays(folder / "predictions.npz", {name: values[valid] for name, values in rows.items()})


def summarise_run(
    run: Run,
    folder: Path,
    metrics: Mapping[str, float],
    accumulators: Accumulators,
    cost: Mapping[str, Any],
    search_results: Mapping[str, Any],
) -> dict[str, Any]:
    """Collect the content of `results.json`: metrics, config, data, versions and cost.

    Args:
        run: The run.
        folder: Its workdir, with the log.
        metrics: The metrics of the final evaluation.
        accumulators: The accumulators that the metrics were computed from.
        cost: Time, throughput and memory.
        search_results: The results of a learning rate search; empty without a search.
    """
    first_loss, last_loss = decide(partial(_read_first_and_last_loss, folder))
    summary = {
        "status": "done",
        "objective": run.config.objective.name,
        "config": run.config.to_dict(),
        "steps": run.steps,
        "precision": dataclasses.asdict(run.precision),
        "classes": list(run.card.classes),
        "colours": [list(colour) for colour in run.card.colours],
        "metrics": dict(metrics),
        # Of the same features, without a training step.
        "probe": probe.probe_frozen_backbone(run),
        "train": {"first_loss": first_loss, "last_loss": last_loss},
        "cost": cost,
        "data": {
            "name": run.config.data.name,
            "bands": list(run.card.sensor.names),
            "train": len(run.source),
            "evaluation": len(run.evaluation_source or ()),
            "examples": run.examples,
            "skipped": run.gather_bad_records(),
            "embedded": run.config.data.name.startswith("demo_"),
        },
        "versions": package_versions(),
        "command": sys.argv,
        "search": dict(search_results),
    }
    if "confusion" in accumulators:
        summary["confusion"] = np.asarray(accumulators["confusion"]).tolist()
    return summary


def _read_first_and_last_loss(folder: Path) -> tuple[float, float]:
    losses = [
        record["loss"]
        for record in read_records(folder / "metrics.jsonl")
        if record["phase"] == "train" and "loss" in record  # no loss: all gradients overflowed
    ]
    return losses[0], losses[-1]


def write_results(summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write `results.json`, which marks the run as finished, and return its content."""
    write_json(folder / "results.json", replace_non_finite(summary))
    return summary
