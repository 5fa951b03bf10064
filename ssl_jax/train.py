"""Train, or go on training, one config: `python -m ssl_jax.train --config FILE --workdir W`."""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.sources.loader import evaluation_batches
from ssl_jax import terminal
from ssl_jax.checkpoints import checkpoint
from ssl_jax.devices import cluster
from ssl_jax.devices.mesh import compiled_for_one_run, replicate
from ssl_jax.metrics import Sums
from ssl_jax.runs import features, outcome, parts, probe, search, workdir
from ssl_jax.runs.parts import Run
from ssl_jax.sizing import describe
from ssl_jax.sizing.display import show
from ssl_jax.training import divergence, loop
from ssl_jax.training.logs import Log, write_json
from ssl_jax.training.state import TrainState
from ssl_jax.training.stopping import STOPPED, Stopped, StopRequest

__all__ = ["main", "train"]


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
        loop.Diverged: the loss became NaN or infinite, or exploded.
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
        with checkpoint.Bundles(folder / "checkpoints", config.keep) as bundles:
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
    bundles: checkpoint.Bundles,
    evaluation: "Evaluation",
    stop: StopRequest,
) -> tuple[Run, TrainState, dict[str, Any]]:
    """Restore or start, train, and, where the run is told to, leave out batches that ruin it.

    Returns:
        The run with its features if they were computed, the last state, and what it cost.
    """
    ready = run
    while True:
        state, position = restore_or_start(run, bundles)
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
        except loop.Diverged as error:
            bundles.wait()
            positions = run.loader().rows(error.step - 1)
            examples = run.source.identities()[positions]
            divergence.record(error, run.config.objective.name, examples, run.bad_loss, folder)


def train_from(
    run: Run,
    state: TrainState,
    position: dict[str, Any],
    folder: Path,
    bundles: checkpoint.Bundles,
    evaluation: "Evaluation",
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
    bundles: checkpoint.Bundles,
    run: Run,
    state: TrainState,
    carried: dict[str, Any],
    evaluation: "Evaluation",
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


def restore_or_start(run: Run, bundles: checkpoint.Bundles) -> tuple[TrainState, dict[str, Any]]:
    """State and position of the newest sound bundle, with its figures, or the initial ones.

    At first the backbone is that of `config.pretrained`, if there is one.
    """

    def initial_state() -> TrainState:
        example = {name: np.asarray(value)[None] for name, value in run.source[0].items()}
        variables = run.objective.init(jax.random.key(run.config.seed), example)
        return TrainState(
            step=jax.numpy.zeros((), jax.numpy.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=run.optimizer.init(variables["params"]),
        )

    if (bundle := bundles.newest) is not None:
        state = checkpoint.load_state(bundle, jax.eval_shape(initial_state), run.mesh)
        return state, {
            **checkpoint.load_position(bundle),
            "metrics": checkpoint.load_card(bundle)["metrics"],
        }
    state = compiled_for_one_run(initial_state)()
    if run.config.pretrained:
        state = with_pretrained_backbone(state, run)
    return replicate(state, run.mesh), {"carried": {}, "metrics": {}}


def with_pretrained_backbone(state: TrainState, run: Run) -> TrainState:
    """`state` with the backbone of the bundle at `config.pretrained` in place of its own.

    A final norm that was fitted to other tokens is left as it starts: where the patches' mean is
    pooled in place of the class token, facebookresearch/mae drops `norm` and has a new `fc_norm`.

    Raises:
        UserError: that bundle's backbone is another network.
    """
    path = Path(run.config.pretrained)
    variables = checkpoint.load_variables(path)
    network = checkpoint.load_card(path)["config"]["model"]["backbone"]
    pools = [section.get("pool", "cls") for section in (network, run.config.model.backbone)]

    def put(own: dict[str, Any], collection: str) -> dict[str, Any]:
        if "backbone" not in own:
            return own
        there = variables[collection].get("backbone", {})
        shapes = [jax.tree.map(np.shape, tree) for tree in (own["backbone"], there)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"config.model.backbone: is not the network of {path}, which was trained with "
                f"{network}; expected the same"
            )
        fresh = {"norm": own["backbone"]["norm"]} if pools[0] != pools[1] else {}
        return {**own, "backbone": {**there, **fresh}}

    return state.replace(
        params=put(state.params, "params"), batch_stats=put(state.batch_stats, "batch_stats")
    )


def watches(run: Run, evaluation: "Evaluation", stop: StopRequest) -> list[loop.Watch]:
    """What is measured beside training: the evaluation, and the probe of a pretraining."""
    measured = []
    if run.evaluation_source is not None:
        measured.append(loop.Watch("evaluation", run.every.evaluate, evaluation))
    if run.probe is not None:
        online = probe.OnlineProbe(run.objective, run.mesh, run.probe, run.config.batch_size, stop)
        measured.append(loop.Watch("probe", run.every.probe, online, at_start=True))
    return measured


class Evaluation:
    """Evaluates states on the run's evaluation examples and remembers the last figures."""

    def __init__(self, run: Run, stop: StopRequest) -> None:
        self.metrics: dict[str, float] = {}
        self.sums: Sums = {}
        self.examples = run.evaluation_source
        self._run = run
        self._stop = stop
        self._step = loop.evaluation_step(run.objective, run.mesh)

    def __call__(self, state: TrainState) -> dict[str, float]:
        self.sums = self._over_all(state)
        self.metrics = self._run.objective.metrics(self.sums)
        return self.metrics

    def _over_all(self, state: TrainState) -> Sums:
        if self._run.over_pictures is not None:
            return self._run.over_pictures(state.variables, self._stop)
        batches = evaluation_batches(
            self.examples,
            self._run.config.batch_size,
            jax.process_index(),
            jax.process_count(),
        )
        return loop.evaluate(self._step, state.variables, batches, self._run.mesh, self._stop)


def main(arguments: Sequence[str]) -> int:
    """The door."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.train",
        description=(
            "Train one config, or go on training it: the same command resumes from the newest "
            "bundle and leaves a finished run as it is. All devices of this machine are used. "
            f"SIGTERM or SIGUSR1 saves a bundle and exits with code {STOPPED}."
        ),
        epilog=terminal.OVERRIDES,
    )
    parser.add_argument("--config", required=True, help="such as configs/pretrain/mae_vitb_ben4.py")
    parser.add_argument("--workdir", help="folder of the run, made if need be")
    describe.add_arguments(parser)
    known, config = terminal.parse(parser, arguments)
    if known.describe:
        show(describe.describe(config, known.devices, known.examples), known.tflops)
        return 0
    if not known.workdir:
        parser.error("the following arguments are required: --workdir (or --describe)")
    cluster.join()
    try:
        with StopRequest() as stop:
            results = train(config, known.workdir, stop)
    except Stopped:
        print(f"stopped as asked; the same command goes on in {known.workdir}", file=sys.stderr)
        return STOPPED
    except loop.Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if jax.process_index() == 0:
        tell(results, known.workdir)
    return 0


def tell(results: dict[str, Any], folder: str) -> None:
    """Print a line on what came out."""
    figures = ", ".join(f"{name} {value:.4f}" for name, value in results["metrics"].items())
    loss, found = results["train"], results.get("search")
    rate = f" at learning rate {found['learning_rate']:g}" if found else ""
    print(
        f"{folder}: {results['steps']} steps{rate}, loss {loss['first_loss']:.4f} -> "
        f"{loss['last_loss']:.4f}{'; ' + figures if figures else ''}"
    )


if __name__ == "__main__":
    terminal.run(main)
