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
from ssl_jax.runs import features, outcome, parts, restoring, search, workdir
from ssl_jax.runs.parts import Run
from ssl_jax.runs.watches import Evaluation, watches
from ssl_jax.training import divergence, loop
from ssl_jax.training.logs import Log
from ssl_jax.training.state import TrainState
from ssl_jax.training.stopping import Stopped, StopRequest

__all__ = ["train"]


def train(
    config: ConfigDict, folder: str | Path, stop: StopRequest | None = None
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
    stop = stop or StopRequest()
    run = parts.assemble(config)
    tried = search.candidates(config)
    with workdir.held(config, folder):
        if (done := workdir.results(folder)) is not None:
            return done
        found: dict[str, Any] = {}
        if tried:
            found = search.best_learning_rate(tried, folder, partial(train, stop=stop))
            run = parts.assemble(search.with_learning_rate(config, found["learning_rate"]))
        run.bad_records.keep_in(folder / "bad_records", jax.process_index())
        evaluation = Evaluation(run, stop)
        with saving.Bundles(folder / "checkpoints", config.keep) as bundles:
            run, state, cost = train_to_the_end(run, folder, bundles, evaluation, stop)
        outcome.write_samples(run, state, folder)
        outcome.write_predictions(evaluation.sums, folder)
        cost["seconds"] = time.monotonic() - began
        summary = outcome.summarise(run, folder, evaluation.metrics, evaluation.sums, cost, found)
        if jax.process_index() == 0:
            write_json(folder / "results.json", summary)
        return summary


def train_to_the_end(
    run: Run,
    folder: Path,
    bundles: saving.Bundles,
    evaluation: Evaluation,
    stop: StopRequest,
) -> tuple[Run, TrainState, dict[str, Any]]:
    """Restore or start, train, and, where the run is told to, leave out batches that ruin it.

    Returns:
        The run with its features if they were computed, the last state, and what it cost.
    """
    ready = run
    while True:
        state, position = restoring.restore_or_start(run, bundles)
        evaluation.metrics = position["metrics"]
        if ready is run:
            try:
                ready = features.computed_once(run, state.variables, stop)
            except Stopped:
                save(bundles, ready, state, position["carried"], evaluation)
                raise
        evaluation.examples = ready.evaluation_source
        try:
            return ready, *train_from(ready, state, position, folder, bundles, evaluation, stop)
        except divergence.Diverged as error:
            bundles.wait()
            positions = run.loader().rows(error.step - 1)
            examples = run.source.identities()[positions]
            divergence.record(error, run.config.objective.name, examples, run.bad_loss, folder)


def train_from(
    run: Run,
    state: TrainState,
    position: dict[str, Any],
    folder: Path,
    bundles: saving.Bundles,
    evaluation: Evaluation,
    stop: StopRequest,
) -> tuple[TrainState, dict[str, Any]]:
    """From a state to the last one, and what that cost."""
    config, start = run.config, int(state.step)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    loader = run.loader()
    with Log(folder, start, run.steps, config.batch_size) as log:
        running = loop.Running(
            log, run.every.log, run.steps, run.bad_loss.explosion, position["carried"]
        )
        began = time.monotonic()
        state = loop.train(
            state,
            steps=run.steps,
            step_function=loop.train_step(
                run.objective, run.optimizer, run.schedule, run.mesh, config.seed
            ),
            batches=loader.batches(start),
            mesh=run.mesh,
            every=run.every,
            running=running,
            watches=watches(run, evaluation, stop),
            save=lambda state: save(bundles, run, state, running.carried, evaluation),
            log=log,
            stop=stop,
            skipped=divergence.skipped(folder),
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


def save(
    bundles: saving.Bundles,
    run: Run,
    state: TrainState,
    carried: dict[str, Any],
    evaluation: Evaluation,
) -> None:
    """Start saving a bundle: the state, where it stands in the data and the log, and the card."""
    step = int(state.step)
    position = {
        "step": step,
        "examples": step * run.config.batch_size,
        "seed": run.config.seed,
        "carried": carried,
    }
    bundles.save(state, position, run.card.after(step, evaluation.metrics).to_dict())
