"""Run a study, or what is left of it: `python -m ssl_jax.study --config FILE --workdir FOLDER`."""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from data_pipelines.errors import STOPPED
from ssl_jax import terminal
from ssl_jax.devices import cluster
from ssl_jax.reporting import report
from ssl_jax.runs.training import train
from ssl_jax.studies.execution import execute_study, load_study
from ssl_jax.studies.plan import Study, select_runs
from ssl_jax.studies.states import State, check_runnable, read_states
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

__all__ = ["main"]


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
    known, config = terminal.parse_arguments(parser, arguments)
    study, folder = load_study(known.config, config), Path(known.workdir)
    runs = select_runs(study.runs, known.only) if known.only else study.runs
    before = read_states(study.runs, folder)
    if known.list:
        print_states(study, before)
        return 0
    check_runnable(runs, before)
    cluster.join_job()
    try:
        with ShutdownSignal() as stop:
            after = execute_study(study, folder, runs, functools.partial(train, stop=stop), stop)
    except Stopped:
        print(f"stopped as asked; the same command goes on in {folder}", file=sys.stderr)
        return STOPPED
    if jax.process_index() == 0:
        finish_study(study, folder, after, whole=not known.only)
    return 1 if any(after[run.name].status in ("failed", "blocked") for run in runs) else 0


def print_states(study: Study, current: dict[str, State]) -> None:
    """Print all runs with their state."""
    colours = {"done": "green", "failed": "red", "part-way": "cyan", "waiting": "dim"}
    table = Table("run", "state", "", title=study.title)
    for run in study.runs:
        state = current[run.name]
        table.add_row(
            run.name, state.status, state.detail, style=colours.get(state.status, "yellow")
        )
    # Names are what one copies from here: a pipe gets them whole.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def finish_study(study: Study, folder: Path, after: dict[str, State], whole: bool) -> None:
    """Name what is missing, and write and show the report of a whole study."""
    if whole:
        page = report.write_report(folder)
        report.print_tables(folder)
        print(f"report: {page}")
    else:
        print(f"when all is done: python -m ssl_jax.report --workdir {folder}")
    for status in ("failed", "blocked", "needs weights"):
        names = [run.name for run in study.runs if after[run.name].status == status]
        for detail in dict.fromkeys(after[name].detail for name in names):
            these = [name for name in names if after[name].detail == detail]
            print(f"{status}: {', '.join(these)}: {detail}", file=sys.stderr)


if __name__ == "__main__":
    terminal.run_command(main)
