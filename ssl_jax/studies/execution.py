"""Execution of a study's runs, and preparation of the demo datasets that they need."""

import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.files.lock import Locked
from data_pipelines.files.writing import write_json, write_text
from data_pipelines.preparing.build import build
from data_pipelines.registry import find_builder
from ssl_jax.devices.processes import decide
from ssl_jax.devices.restart import read_restart_reason, request_restart
from ssl_jax.runs import workdir
from ssl_jax.runs.config import load_module
from ssl_jax.runs.training import train
from ssl_jax.studies.plan import Run, Study
from ssl_jax.studies.progress import Progress
from ssl_jax.studies.states import State, check_runnable, decide_states
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

__all__ = ["execute_study", "load_study"]

_MAX_TEXT = 20_000  # characters of a message, and of a traceback

TrainFunction = Callable[[ConfigDict, Path], dict[str, Any]]


def load_study(path: str, config: ConfigDict) -> Study:
    """Create the study that a config file defines.

    Args:
        path: Path of a Python file with a function `study(config)`; `:word` after it is ignored.
        config: The config, as `load_config` returns it for the same path.

    Raises:
        UserError: If the file has no function `study`.
    """
    file = path.partition(":")[0]
    module = load_module(file)
    if not hasattr(module, "study"):
        raise UserError(
            f"config {file}: has no study(config); expected one of configs/study/*.py. A single "
            "run is trained by `python -m ssl_jax.train`"
        )
    return module.study(config)


def execute_study(
    study: Study,
    folder: Path,
    runs: Sequence[Run] | None = None,
    train: TrainFunction = train,
    stop: ShutdownSignal | None = None,
    tell_elsewhere: bool = True,
) -> dict[str, State]:
    """Train the runs of a study that are not done yet, in the study's order.

    The error of a failed run is recorded in its `failure.txt`. Runs that need it are skipped, the
    others are trained. The next call retries it. A job of several processes is restarted after a
    failure, and continues with the next run.

    Args:
        study: The runs and tables; recorded in `study.json`.
        folder: The study's workdir.
        runs: The runs to train, which must be runs of the study; by default all of them.
        train: Function that trains a run: (config, folder) -> content of its `results.json`.
        stop: Shutdown signal, which interrupts the preparation of datasets.
        tell_elsewhere: Whether to say which runs other processes are training.

    Returns:
        The state of each run of the study, by name.

    Raises:
        UserError: If the folder of a run belongs to another config, or the run starts from another
            backbone now; or if a selected run needs one that is neither done nor selected.
        Stopped: If a signal requests a shutdown; the current run has been saved.
    """
    runs = study.runs if runs is None else runs
    check_runnable(runs, decide_states(study.runs, folder))
    record_study(study, folder)
    failures = read_restart_reason(os.environ)  # of runs, before this process was restarted
    progress = Progress(tell_elsewhere)
    for name, text in failures.items():
        if text:  # empty if it was recorded after an earlier restart
            decide(partial(record_failure, text, folder / name))
            progress.report_earlier_failure(name, text.splitlines()[0])
    selected = {run.name for run in runs} - failures.keys()
    pending = [run for run in study.runs if run.name in selected and not run.awaits]
    prepare_demo_datasets((run.config for run in pending), stop or ShutdownSignal())

    num_pending = len(pending) + 1
    while len(pending) < num_pending:  # if some were trained, others may have ended elsewhere
        num_pending = len(pending)
        states = decide_states(study.runs, folder)
        done = {name for name, state in states.items() if state.status == "done"}
        pending = [run for run in pending if run.name not in done]
        pending = train_runs(pending, done, folder, train, progress, failures)
    return decide_states(study.runs, folder)


def train_runs(
    runs: Sequence[Run],
    done: set[str],
    folder: Path,
    train: TrainFunction,
    progress: Progress,
    failures: Iterable[str] = (),
) -> list[Run]:
    """Train the runs that can be trained now, and record the errors of those that fail.

    Args:
        runs: The runs, each after the runs that it needs.
        done: Names of the finished runs; those that are trained are added.
        folder: The study's workdir.
        train: Function that trains a run.
        progress: Reports the progress.
        failures: Names of the runs that have failed since the command was started.

    Returns:
        The runs that another process is training, and those that need a run that is not done.

    Raises:
        Stopped: If a signal requests a shutdown; the current run has been saved.
    """
    progress.begin(len(runs))
    left = []
    for run in runs:
        if decide((folder / run.name / "results.json").exists):
            done.add(run.name)  # trained by another process since
            progress.skip()
            continue
        if not done.issuperset(run.needs):
            progress.skip()
            left.append(run)
            continue
        progress.start(run)
        try:
            results = train(run.resolve_config(folder), folder / run.name)
        except Stopped:
            raise
        except Locked as error:
            progress.report_running_elsewhere(run, str(error))
            left.append(run)
        except Exception as error:  # of any kind: the other runs may still succeed
            text = describe_failure(error)
            if jax.process_count() > 1:
                request_restart({**dict.fromkeys(failures, ""), run.name: text})
            record_failure(text, folder / run.name)
            progress.report_failure(run, text.splitlines()[0])
        else:
            decide(partial(_delete_failure, folder / run.name))
            done.add(run.name)
            progress.report_success(run, results)
    return left


def record_study(study: Study, folder: Path) -> None:
    """Write `study.json`, after a check of the runs that have started already.

    Raises:
        UserError: If the folder of a run belongs to another config or backbone.
    """
    started = decide(
        lambda: [run.name for run in study.runs if (folder / run.name / "config.json").exists()]
    )
    for run in study.runs:
        if run.name in started:
            workdir.record_config(run.resolve_config(folder), folder / run.name)
    decide(partial(_write_study, study, folder))


def _write_study(study: Study, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "study.json", study.to_dict())


def prepare_demo_datasets(configs: Iterable[ConfigDict], stop: ShutdownSignal) -> None:
    """Prepare the demo datasets that the configs name and that are not prepared yet.

    Args:
        configs: Configs of runs.
        stop: Shutdown signal, which interrupts the preparation.

    Raises:
        Stopped: If a signal requests a shutdown. The incomplete dataset is removed, those prepared
            before it are kept.
    """
    datasets = dict.fromkeys((config.data.name, config.data.data_dir) for config in configs)

    def prepare() -> bool:
        try:
            with stop.raise_on_signal():
                for name, data_dir in datasets:
                    if _is_demo_dataset(name):
                        build(name, data_dir)
        except Stopped:
            return False
        return True

    if not decide(prepare):
        raise Stopped


def _is_demo_dataset(name: str) -> bool:
    try:
        return find_builder(name).builder.__module__.startswith("data_pipelines.demo.")
    except UserError:  # the run raises the same error, which is then recorded
        return False


def describe_failure(error: Exception) -> str:
    """Describe an error: the message in the first line, and the traceback.

    There is no traceback if the error is one that the user can resolve.
    """
    message = " ".join(str(error).split())
    if isinstance(error, UserError | Diverged):
        return f"{message[:_MAX_TEXT]}\n"
    trace = "".join(traceback.format_exception(error))
    # XLA's messages can be of megabytes; a restart passes the text in an environment variable.
    return f"{type(error).__name__}: {message[:_MAX_TEXT]}\n\n{trace[-_MAX_TEXT:]}"


def record_failure(text: str, folder: Path) -> None:
    """Write the description of an error to the `failure.txt` of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "failure.txt", text)


def _delete_failure(folder: Path) -> None:
    (folder / "failure.txt").unlink(missing_ok=True)
