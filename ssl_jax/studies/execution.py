"""Carrying out the runs of a study, and preparing the embedded datasets that they need."""

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


def load_study(path: str, config: ConfigDict) -> Study:
    """The study that a config file makes of its config.

    Raises:
        UserError: the file doesn't define one.
    """
    file = path.partition(":")[0]
    module = load_module(file)
    if not hasattr(module, "study"):
        raise UserError(
            f"config {file}: has no study(config); expected one of configs/study/*.py. A single "
            "run is trained by `python -m ssl_jax.train`"
        )
    return module.study(config)


Train = Callable[[ConfigDict, Path], dict[str, Any]]


def execute_study(
    study: Study,
    folder: Path,
    runs: Sequence[Run] | None = None,
    train: Train = train,
    stop: ShutdownSignal | None = None,
) -> dict[str, State]:
    """Do those of `runs` (by default all of the study's) that aren't done, in the study's order.

    A run that fails leaves its error in `failure.txt` and doesn't sink the rest; those that need it
    are left alone. Started again, it is tried again.

    Args:
        study: the runs and tables; recorded in `study.json`.
        folder: the study's workdir.
        runs: some of the study's runs.
        train: does a run: (config, folder) -> what its `results.json` holds.
        stop: raised by a signal; ends the preparation of datasets.

    Returns:
        The state of all runs of the study.

    Raises:
        UserError: a folder holds a run of another config.
        Stopped: a signal asked to stop; the run under way has been saved.
    """
    chosen = [run.name for run in (study.runs if runs is None else runs)]
    for run in study.runs:
        if (folder / run.name / "config.json").exists():
            workdir.record_config(run.config, folder / run.name)
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "study.json", study.to_dict())
    before = read_states(study.runs, folder)
    left = [run for run in study.runs if run.name in chosen and before[run.name].status != "done"]
    done = {name for name, state in before.items() if state.status == "done"}
    prepare_demo_datasets((run.config for run in left if not run.awaits), stop or ShutdownSignal())

    progress = Progress(len(left))
    for run in left:
        if run.awaits or not done.issuperset(run.needs):
            progress.skipped()
            continue
        progress.begin(run)
        try:
            results = train(run.config_in(folder), folder / run.name)
        except Stopped:
            raise
        except Exception as error:  # whatever it is, the other runs may still succeed
            progress.failed(run, record_failure(error, folder / run.name))
        else:
            (folder / run.name / "failure.txt").unlink(missing_ok=True)
            done.add(run.name)
            progress.done(run, results)
    return read_states(study.runs, folder)


def prepare_demo_datasets(configs: Iterable[ConfigDict], stop: ShutdownSignal) -> None:
    """Make those embedded datasets that the configs name and that aren't there yet.

    Raises:
        Stopped: a signal came meanwhile; the dataset under way is gone, those before it stay.
    """
    wanted = dict.fromkeys((config.data.name, config.data.data_dir) for config in configs)
    stopped = False
    if jax.process_index() == 0:
        try:
            with stop.at_once():
                for name, data_dir in wanted:
                    if _is_embedded(name):
                        build(name, data_dir)
        except Stopped:
            stopped = True
    if gather_json(stopped)[0]:
        raise Stopped


def _is_embedded(name: str) -> bool:
    try:
        return find_builder(name).builder.__module__.startswith("data_pipelines.demo.")
    except UserError:  # the run itself will say so
        return False


def record_failure(error: Exception, folder: Path) -> str:
    """Keep what went wrong in `failure.txt`, its first line in one sentence; that sentence."""
    foreseen = isinstance(error, UserError | Diverged)
    line = " ".join(str(error).split())
    line = line if foreseen else f"{type(error).__name__}: {line}"
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        details = "" if foreseen else "\n" + "".join(traceback.format_exception(error))
        write_text(folder / "failure.txt", f"{line}\n{details}")
    return line
