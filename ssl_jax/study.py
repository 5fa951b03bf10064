"""Run a study, or what is left of it: `python -m ssl_jax.study --config FILE --workdir FOLDER`."""

import argparse
import functools
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from data_pipelines.build import build
from data_pipelines.errors import UserError
from data_pipelines.registry import find_builder
from ssl_jax import report, terminal
from ssl_jax.devices import cluster
from ssl_jax.devices.processes import gathered
from ssl_jax.runs import workdir
from ssl_jax.studies.plan import Run, State, Study, select, states
from ssl_jax.train import train
from ssl_jax.training.logs import write_json, write_text
from ssl_jax.training.loop import Diverged
from ssl_jax.training.stopping import STOPPED, Stopped, StopRequest

__all__ = ["execute", "main"]

Train = Callable[[ConfigDict, Path], dict[str, Any]]


def execute(
    study: Study,
    folder: Path,
    runs: Sequence[Run] | None = None,
    train: Train = train,
    stop: StopRequest | None = None,
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
            workdir.claim(run.config, folder / run.name)
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "study.json", study.to_dict())
    before = states(study.runs, folder)
    left = [run for run in study.runs if run.name in chosen and before[run.name].word != "done"]
    done = {name for name, state in before.items() if state.word == "done"}
    prepare((run.config for run in left if not run.awaits), stop or StopRequest())

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
    return states(study.runs, folder)


def prepare(configs: Iterable[ConfigDict], stop: StopRequest) -> None:
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
    if gathered(stopped)[0]:
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


class Progress:
    """One line a run when it ends, and at a terminal one when it begins, with the time left."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._ended = 0
        self._began = time.monotonic()
        self._errors = Console(stderr=True)

    def begin(self, run: Run) -> None:
        """`run` is about to start."""
        self._run_began = time.monotonic()
        if self._errors.is_terminal:
            line = f"{self._count(self._ended + 1)} {run.name}{self._left()}"
            self._errors.print(line, style="dim", markup=False, highlight=False)

    def done(self, run: Run, results: dict[str, Any]) -> None:
        """`run` came out with `results`."""
        self._end(f"{run.name}: {_outcome(results)}")

    def failed(self, run: Run, line: str) -> None:
        """`run` failed, in a line."""
        self._end(f"{run.name}: FAILED: {line}")

    def skipped(self) -> None:
        """A run can't be done now."""
        self._runs -= 1

    def _end(self, text: str) -> None:
        self._ended += 1
        if jax.process_index() == 0:
            seconds = time.monotonic() - self._run_began
            print(f"{self._count(self._ended)} {text} ({seconds:.1f} s)", flush=True)

    def _count(self, number: int) -> str:
        return f"[{number:{len(str(self._runs))}}/{self._runs}]"

    def _left(self) -> str:
        if not self._ended:
            return ""
        each = (time.monotonic() - self._began) / self._ended
        left = terminal.duration(each * (self._runs - self._ended))
        return f" · {60 / each:.1f} runs/min, about {left} left"


def _outcome(results: dict[str, Any]) -> str:
    """The figure that a run is about."""
    metrics = results["metrics"]
    shares = [name for name in ("top1", "mAP", "mIoU", "OA") if name in metrics]
    shown = [f"{name} {100 * metrics[name]:.1f} %" for name in shares]
    losses = results["train"]
    return ", ".join(shown) or f"loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}"


def show_states(study: Study, current: dict[str, State]) -> None:
    """Print all runs with their state."""
    colours = {"done": "green", "failed": "red", "part-way": "cyan", "waiting": "dim"}
    table = Table("run", "state", "", title=study.title)
    for run in study.runs:
        state = current[run.name]
        table.add_row(run.name, state.word, state.detail, style=colours.get(state.word, "yellow"))
    # Names are what one copies from here: a pipe gets them whole.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main(arguments: Sequence[str]) -> int:
    """The door."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.study",
        description=(
            "Do all runs of a study in the order they need each other, then write its report. Runs "
            "that are done are skipped, one that was interrupted goes on, one that fails doesn't "
            "sink the rest. Embedded datasets are prepared first. Nodes that share the folder can "
            "each be given runs with --only."
        ),
        epilog=terminal.OVERRIDES,
    )
    parser.add_argument("--config", required=True, help="such as configs/study/quickstart.py")
    parser.add_argument("--workdir", required=True, help="folder of the study, made if need be")
    parser.add_argument(
        "--only",
        metavar="RUN",
        help="do this run alone, those of a folder (scenes/mae_vitb_ben4), or of a pattern with *",
    )
    parser.add_argument("--list", action="store_true", help="show all runs with their state")
    known, config = terminal.parse(parser, arguments)
    study, folder = load_study(known.config, config), Path(known.workdir)
    runs = select(study.runs, known.only) if known.only else study.runs
    before = states(study.runs, folder)
    if known.list:
        show_states(study, before)
        return 0
    refuse_what_cannot_start(runs, before)
    cluster.join()
    try:
        with StopRequest() as stop:
            after = execute(study, folder, runs, functools.partial(train, stop=stop), stop)
    except Stopped:
        print(f"stopped as asked; the same command goes on in {folder}", file=sys.stderr)
        return STOPPED
    if jax.process_index() == 0:
        conclude(study, folder, after, whole=not known.only)
    return 1 if any(after[run.name].word in ("failed", "blocked") for run in runs) else 0


def load_study(path: str, config: ConfigDict) -> Study:
    """The study that a config file makes of its config.

    Raises:
        UserError: the file doesn't define one.
    """
    file = path.partition(":")[0]
    module = terminal.load_module(file)
    if not hasattr(module, "study"):
        raise UserError(
            f"config {file}: has no study(config); expected one of configs/study/*.py. A single "
            "run is trained by `python -m ssl_jax.train`"
        )
    return module.study(config)


def refuse_what_cannot_start(runs: Sequence[Run], current: dict[str, State]) -> None:
    """Say so if no chosen run can start for want of another that wasn't chosen.

    Raises:
        UserError: such a run.
    """
    done = {name for name, state in current.items() if state.word == "done"}
    within_reach = done | {run.name for run in runs}
    for run in runs:
        for name in run.needs:
            if run.name not in done and name not in within_reach:
                state = f"{current[name].word} {current[name].detail}".strip()
                raise UserError(
                    f"--only {run.name}: needs {name}, which is not done ({state}); do it first: "
                    f"--only {name}"
                )


def conclude(study: Study, folder: Path, after: dict[str, State], whole: bool) -> None:
    """Name what is missing, and write and show the report of a whole study."""
    if whole:
        page = report.write(folder)
        report.show_tables(folder)
        print(f"report: {page}")
    else:
        print(f"when all is done: python -m ssl_jax.report --workdir {folder}")
    for word in ("failed", "blocked", "needs weights"):
        names = [run.name for run in study.runs if after[run.name].word == word]
        for detail in dict.fromkeys(after[name].detail for name in names):
            these = [name for name in names if after[name].detail == detail]
            print(f"{word}: {', '.join(these)}: {detail}", file=sys.stderr)


if __name__ == "__main__":
    terminal.run(main)
