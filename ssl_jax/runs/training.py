"""The training of one run, from its config to its `results.json`; interrupted runs are resumed."""

import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from ssl_jax.checkpoints import saving
from ssl_jax.devices.processes import decide
from ssl_jax.runs import features, parts, restoring, results, search, workdir
from ssl_jax.runs.parts import Run
from ssl_jax.runs.periodic_evaluations import Evaluation, make_periodic_evaluations
from ssl_jax.training import divergence, loop, steps
from ssl_jax.training.metric_accumulator import MetricAccumulator
from ssl_jax.training.metric_writer import MetricWriter
from ssl_jax.training.shutdown import ShutdownSignal, Stopped
from ssl_jax.training.state import TrainState

__all__ = ["train"]


def train(
    config: ConfigDict, folder: str | Path, stop: ShutdownSignal | None = None
) -> dict[str, Any]:
    """Train a config in a workdir.

    An interrupted run resumes from its newest valid checkpoint, with the same examples and random
    draws as an uninterrupted run. A finished run is left unchanged.

    Args:
        config: The config, as in `configs/`.
        folder: The workdir.
        stop: The shutdown signal; by default signals are not handled.

    Returns:
        The content of `results.json`.

    Raises:
        UserError: If the config, the dataset or the workdir is invalid.
        divergence.Diverged: If the loss is NaN, infinite or has exploded.
        Stopped: If a signal requested a shutdown; a checkpoint has been saved.
    """
    began = time.monotonic()
    folder = Path(folder)
    stop = stop or ShutdownSignal()
    run = parts.assemble_run(config)
    candidates = search.make_candidates(config)
    with workdir.lock_workdir(config, folder):
        if (finished := decide(partial(workdir.read_results, folder))) is not None:
            return finished
        search_results: dict[str, Any] = {}
        if candidates:
            search_results = search.search_learning_rate(
                candidates, folder, partial(train, stop=stop)
            )
            rate = search_results["learning_rate"]
            run = parts.assemble_run(search.with_learning_rate(config, rate))
        run.bad_records.persist_in(folder / "bad_records", jax.process_index())
        evaluation = Evaluation(run, stop)
        with saving.Checkpointer(folder / "checkpoints", config.keep) as checkpoints:
            stop.find_checkpoint = checkpoints.find_complete
            run, state, cost = train_with_retries(run, folder, checkpoints, evaluation, stop)
        results.write_samples(run, state, folder)
        results.write_predictions(evaluation.accumulators, folder)
        cost["seconds"] = time.monotonic() - began
        summary = results.summarise_run(
            run, folder, evaluation.metrics, evaluation.accumulators, cost, search_results
        )
        return decide(partial(results.write_results, summary, folder))


def train_with_retries(
    run: Run,
    folder: Path,
    checkpoints: saving.Checkpointer,
    evaluation: Evaluation,
    stop: ShutdownSignal,
) -> tuple[Run, TrainState, dict[str, Any]]:
    """Restore or initialise the state and train it to the last step.

    After a divergence, training restarts from the newest checkpoint and skips the batch, as often
    as `config.bad_loss` allows.

    Args:
        run: The run.
        folder: Its workdir.
        checkpoints: The checkpoints of the workdir.
        evaluation: Evaluates on the evaluation split; it is updated in place.
        stop: The shutdown signal.

    Returns:
        The run (with features instead of images if they were precomputed), its last state and its
        cost.

    Raises:
        divergence.Diverged: If the loss is NaN, infinite or has exploded.
        Stopped: If a signal requested a shutdown; a checkpoint has been saved.
    """
    prepared = run
    while True:
        state, position = restoring.restore_or_initialise(run, checkpoints)
        evaluation.metrics = position["metrics"]
        if prepared is run:
            try:
                prepared = features.precompute_features(run, state.variables, stop)
            except Stopped:
                save_checkpoint(checkpoints, prepared, state, position["carried"], evaluation)
                raise
        evaluation.examples = prepared.evaluation_source
        try:
            return prepared, *train_from_state(
                prepared, state, position, folder, checkpoints, evaluation, stop
            )
        except divergence.Diverged as error:
            checkpoints.wait()
            positions = run.make_loader().rows(error.step - 1)
            examples = run.source.example_ids()[positions]
            divergence.record_divergence(
                error, run.config.objective.name, examples, run.bad_loss, folder
            )


def train_from_state(
    run: Run,
    state: TrainState,
    position: dict[str, Any],
    folder: Path,
    checkpoints: saving.Checkpointer,
    evaluation: Evaluation,
    stop: ShutdownSignal,
) -> tuple[TrainState, dict[str, Any]]:
    """Train a state to the last step.

    Args:
        run: The run.
        state: The state to start from, replicated over the run's mesh; it is donated.
        position: Its position, with the accumulated metrics (`carried`).
        folder: The workdir.
        checkpoints: The checkpoints of the workdir.
        evaluation: Evaluates on the evaluation split.
        stop: The shutdown signal.

    Returns:
        The last state, and the cost: throughput, fraction of seconds spent waiting for data,
        devices, memory in bytes and number of parameters.
    """
    config, start = run.config, int(state.step)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    loader = run.make_loader()
    with MetricWriter(folder, start, run.steps, config.batch_size) as writer:
        accumulator = MetricAccumulator(
            writer, run.intervals.log, run.steps, run.bad_loss.explosion, position["carried"]
        )
        began = time.monotonic()
        state = loop.train(
            state,
            steps=run.steps,
            train_step=steps.make_train_step(
                run.objective, run.optimizer, run.schedule, run.mesh, config.seed
            ),
            batches=loader.batches(start),
            mesh=run.mesh,
            intervals=run.intervals,
            accumulator=accumulator,
            evaluations=make_periodic_evaluations(run, evaluation, stop),
            save=lambda state: save_checkpoint(
                checkpoints, run, state, accumulator.to_json(), evaluation
            ),
            writer=writer,
            stop=stop,
            skipped_steps=decide(partial(divergence.read_skipped_steps, folder)),
        )
        seconds = max(time.monotonic() - began, 1e-9)
    return state, {
        "examples_per_second": (run.steps - start) * config.batch_size / seconds,
        "waiting_fraction": loader.wait_seconds / seconds,
        "devices": jax.device_count(),
        "device_kind": jax.devices()[0].device_kind,
        "peak_rss_bytes": measure_peak_memory(),
        "parameters": parameters,
    }


def measure_peak_memory() -> int:
    """Return the largest memory that this process had resident so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes, but on macOS bytes


def save_checkpoint(
    checkpoints: saving.Checkpointer,
    run: Run,
    state: TrainState,
    accumulated: dict[str, Any],
    evaluation: Evaluation,
) -> None:
    """Start saving a checkpoint: the state, its position in the data and the log, and the card.

    Args:
        checkpoints: The checkpoints of the workdir.
        run: The run, with the model card.
        state: The state to save.
        accumulated: The metrics accumulated since the last log record, as JSON.
        evaluation: The evaluation, whose last metrics the card gets.
    """
    step = int(state.step)
    position = {
        "step": step,
        "examples": step * run.config.batch_size,
        "seed": run.config.seed,
        "carried": accumulated,
    }
    canary = decide(lambda: run.compute_canary(jax.device_get(state.variables)))
    card = run.card.at_step(step, evaluation.metrics, canary)
    checkpoints.save(state, position, card.to_dict())
