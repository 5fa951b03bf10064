"""One run, from its config to its `results.json`: resumed if it was interrupted."""

import resource
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.files.writing import write_json
from ssl_jax.checkpoints import saving
from ssl_jax.runs import features, parts, restoring, results, search, workdir
from ssl_jax.runs.parts import Run
from ssl_jax.runs.periodic_evaluations import Evaluation, make_periodic_evaluations
from ssl_jax.training import divergence, loop
from ssl_jax.training.metric_writer import MetricWriter
from ssl_jax.training.shutdown import ShutdownSignal, Stopped
from ssl_jax.training.state import TrainState

__all__ = ["train"]


def train(
    config: ConfigDict, folder: str | Path, stop: ShutdownSignal | None = None
) -> dict[str, Any]:
    """Train `config` in `folder` and return what its `results.json` then holds.

    A run that was interrupted goes on from its newest sound bundle, with the examples and the
    randomness the undisturbed run would have had; a run that is done is left as it is.

    Args:
        config: as in `configs`.
        folder: the workdir.
        stop: raised by a signal; without it signals do what they always do.

    Raises:
        UserError: the config, the dataset or the workdir doesn't fit.
        divergence.Diverged: the loss became NaN or infinite, or exploded.
        Stopped: a signal asked to stop; a bundle has been saved.
    """
    began = time.monotonic()
    folder = Path(folder)
    stop = stop or ShutdownSignal()
    run = parts.assemble_run(config)
    tried = search.make_candidates(config)
    with workdir.lock_workdir(config, folder):
        if (done := workdir.read_results(folder)) is not None:
            return done
        found: dict[str, Any] = {}
        if tried:
            found = search.search_learning_rate(tried, folder, partial(train, stop=stop))
            run = parts.assemble_run(search.with_learning_rate(config, found["learning_rate"]))
        run.bad_records.persist_in(folder / "bad_records", jax.process_index())
        evaluation = Evaluation(run, stop)
        with saving.Checkpointer(folder / "checkpoints", config.keep) as checkpoints:
            run, state, cost = train_until_done(run, folder, checkpoints, evaluation, stop)
        results.write_samples(run, state, folder)
        results.write_predictions(evaluation.accumulators, folder)
        cost["seconds"] = time.monotonic() - began
        summary = results.summarise_run(
            run, folder, evaluation.metrics, evaluation.accumulators, cost, found
        )
        if jax.process_index() == 0:
            write_json(folder / "results.json", summary)
        return summary


def train_until_done(
    run: Run,
    folder: Path,
    checkpoints: saving.Checkpointer,
    evaluation: Evaluation,
    stop: ShutdownSignal,
) -> tuple[Run, TrainState, dict[str, Any]]:
    """Restore or start, train, and, where the run is told to, leave out batches that ruin it.

    Returns:
        The run with its features if they were computed, the last state, and what it cost.
    """
    ready = run
    while True:
        state, position = restoring.restore_or_initialise(run, checkpoints)
        evaluation.metrics = position["metrics"]
        if ready is run:
            try:
                ready = features.precompute_features(run, state.variables, stop)
            except Stopped:
                save_checkpoint(checkpoints, ready, state, position["carried"], evaluation)
                raise
        evaluation.examples = ready.evaluation_source
        try:
            return ready, *train_from_state(
                ready, state, position, folder, checkpoints, evaluation, stop
            )
        except divergence.Diverged as error:
            checkpoints.wait()
            positions = run.loader().rows(error.step - 1)
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
    """From a state to the last one, and what that cost."""
    config, start = run.config, int(state.step)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    loader = run.loader()
    with MetricWriter(folder, start, run.steps, config.batch_size) as log:
        accumulator = loop.MetricAccumulator(
            log, run.intervals.log, run.steps, run.bad_loss.explosion, position["carried"]
        )
        began = time.monotonic()
        state = loop.train(
            state,
            steps=run.steps,
            step_function=loop.make_train_step(
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
            log=log,
            stop=stop,
            skipped=divergence.read_skipped_steps(folder),
        )
        seconds = max(time.monotonic() - began, 1e-9)
    return state, {
        "examples_per_second": (run.steps - start) * config.batch_size / seconds,
        "waiting_fraction": loader.wait_seconds / seconds,
        "devices": jax.device_count(),
        "device_kind": jax.devices()[0].device_kind,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "parameters": parameters,
    }


def save_checkpoint(
    checkpoints: saving.Checkpointer,
    run: Run,
    state: TrainState,
    accumulated: dict[str, Any],
    evaluation: Evaluation,
) -> None:
    """Start saving a bundle: the state, where it stands in the data and the log, and the card."""
    step = int(state.step)
    position = {
        "step": step,
        "examples": step * run.config.batch_size,
        "seed": run.config.seed,
        "carried": accumulated,
    }
    checkpoints.save(state, position, run.card.at_step(step, evaluation.metrics).to_dict())
