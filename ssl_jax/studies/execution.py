"""Execution of a study's runs, and preparation of the demo datasets that they need."""

import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_json, write_text
from data_pipelines.preparing.build import build
from data_pipelines.registry import find_builder
from ssl_jax.devices.processes import gather_json
from ssl_jax.runs import workdir
from ssl_jax.runs.config import load_module
from ssl_jax.runs.training import train
from ssl_jax.studies.plan import Run, Study
from ssl_jax.studies.progress import Progress
from ssl_jax.studies.states import State, read_states
from ssl_jax.training.divergence import Diverged
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

__all__ = ["execute_study", "load_study"]

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
) -> dict[str, State]:
    """Train the runs of a study that are not done yet, in the study's order.

    The error of a failed run is recorded in its `failure.txt`. Runs that need it are skipped, the
    others are trained. The next call retries it.

    Args:
        study: The runs and tables; recorded in `study.json`.
        folder: The study's workdir.
        runs: The runs to train, which must be runs of the study; by default all of them.
        train: Function that trains a run: (config, folder) -> content of its `results.json`.
        stop: Shutdown signal, which interrupts the preparation of datasets.

    Returns:
        The state of each run of the study, by name.

    Raises:
        UserError: If the folder of a run belongs to another config, or the run starts from another
            backbone now.
        Stopped: If a signal requests a shutdown; the current run has been saved.
    """
    selected = {run.name for run in (study.runs if runs is None else runs)}
    for run in study.runs:
        if (folder / run.name / "config.json").exists():
            workdir.record_config(run.resolve_config(folder), folder / run.name)
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "study.json", study.to_dict())
    states = read_states(study.runs, folder)
    done = {name for name, state in states.items() if state.status == "done"}
    pending = [run for run in study.runs if run.name in selected and run.name not in done]
    configs = (run.config for run in pending if not run.awaits)
    prepare_demo_datasets(configs, stop or ShutdownSignal())

    progress = Progress(len(pending))
    for run in pending:
        if run.awaits or not done.issuperset(run.needs):
            progress.skip()
            continue
        progress.start(run)
        try:
            results = train(run.resolve_config(folder), folder / run.name)
        except Stopped:
            raise
        except Exception as error:  # of any kind: the other runs may still succeed
            progress.report_failure(run, record_failure(error, folder / run.name))
        else:
            (folder / run.name / "failure.txt").unlink(missing_ok=True)
            done.add(run.name)
            progress.report_success(run, results)
    return read_states(study.runs, folder)


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
    stopped = False
    if jax.process_index() == 0:
        try:
            with stop.raise_on_signal():
                for name, data_dir in datasets:
                    if _is_demo_dataset(name):
                        build(name, data_dir)
        except Stopped:
            stopped = True
    if gather_json(stopped)[0]:
        raise Stopped


def _is_demo_dataset(name: str) -> bool:
    try:
        return find_builder(name).builder.__module__.startswith("data_pipelines.demo.")
    except UserError:  # the run raises the same error, which is then recorded
        return False


def record_failure(error: Exception, folder: Path) -> str:
    """Write an error to the `failure.txt` of a run.

    The first line of the file is the message. If the error is not one that the user can resolve,
    the traceback follows.

    Args:
        error: The error.
        folder: Folder of the run.

    Returns:
        The message, a single line.
    """
    is_expected = isinstance(error, UserError | Diverged)
    message = " ".join(str(error).split())
    message = message if is_expected else f"{type(error).__name__}: {message}"
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        details = "" if is_expected else "\n" + "".join(traceback.format_exception(error))
        write_text(folder / "failure.txt", f"{message}\n{details}")
    return message
