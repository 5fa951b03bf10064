"""Execution of a study: `python -m ssl_jax.study --config FILE --workdir FOLDER`."""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from data_pipelines.errors import STOPPED, UserError
from ssl_jax import terminal
from ssl_jax.studies.jobs import train_side_by_side
from ssl_jax.studies.plan import Run, Study, select_runs

if TYPE_CHECKING:
    from ssl_jax.studies.states import State

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.study",
        description=(
            "Train the runs of a study in the order of their dependencies, then write its report. "
            "Finished runs are skipped, interrupted runs resumed; a failed run does not stop the "
            "others. Demo datasets are prepared first. Several nodes that share the workdir can "
            "each train some of the runs, selected by --only."
        ),
        epilog=terminal.OVERRIDES,
    )
    parser.add_argument(
        "--config", required=True, help="config file, such as configs/study/quickstart.py"
    )
    parser.add_argument(
        "--workdir", required=True, help="folder of the study; created if it does not exist"
    )
    parser.add_argument(
        "--only",
        metavar="RUN",
        help="run to train, a folder of runs (scenes/mae_vitb_ben4), or a pattern with *",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="number of runs to train side by side, each in its own process (default: 1). On a "
        "CPU, small runs are quicker by twos, since only one core compiles",
    )
    parser.add_argument(
        "--no_report", action="store_true", help="train only; another process writes the report"
    )
    parser.add_argument("--list", action="store_true", help="list the runs and their states")
    args, config = terminal.parse_arguments(parser, argv)
    if args.jobs < 1:
        raise UserError(f"--jobs: found {args.jobs}; expected at least 1")
    return _execute(config, args, argv)


def _execute(config: ConfigDict, args: argparse.Namespace, argv: Sequence[str]) -> int:
    # Imported after the arguments were checked: see `terminal`.
    import jax

    from ssl_jax.devices import cluster
    from ssl_jax.studies.execution import load_study
    from ssl_jax.studies.states import read_states
    from ssl_jax.training.shutdown import Stopped

    study, folder = load_study(args.config, config), Path(args.workdir)
    runs = select_runs(study.runs, args.only) if args.only else study.runs
    if args.list:
        print_states(study, read_states(study.runs, folder))
        return 0
    cluster.join_job()
    if args.jobs > 1 and jax.process_count() > 1:
        raise UserError(
            f"--jobs: found {args.jobs} in a job of {jax.process_count()} processes, which train "
            "each run together; expected 1"
        )
    try:
        states = _train(study, folder, runs, args.jobs, not args.no_report, argv)
    except Stopped:
        print(f"interrupted; run the same command again to resume in {folder}", file=sys.stderr)
        return STOPPED
    if jax.process_index() == 0 and not args.no_report:
        finish_study(study, folder, states, all_selected=not args.only)
    return 1 if any(states[run.name].status in ("failed", "blocked") for run in runs) else 0


def _train(
    study: Study,
    folder: Path,
    runs: Sequence[Run],
    jobs: int,
    tell_elsewhere: bool,
    argv: Sequence[str],
) -> "dict[str, State]":
    """Train runs, `jobs` of them at a time, and return the state of each run of the study."""
    from ssl_jax.runs.training import train
    from ssl_jax.studies.execution import execute_study, prepare_demo_datasets
    from ssl_jax.training.shutdown import ShutdownSignal

    with ShutdownSignal() as stop:
        train_run = functools.partial(train, stop=stop)
        if jobs == 1:
            return execute_study(study, folder, runs, train_run, stop, tell_elsewhere)
        prepare_demo_datasets((run.config for run in runs if not run.awaits), stop)
        with train_side_by_side(jobs - 1, argv):
            states = execute_study(study, folder, runs, train_run, stop, tell_elsewhere=False)
        # What waited for a run of a process that has ended since.
        left = [run for run in runs if states[run.name].status not in ("failed", "blocked")]
        return execute_study(study, folder, left, train_run, stop)


def print_states(study: Study, states: "dict[str, State]") -> None:
    """Print all runs of a study and their states as a table."""
    colours = {"done": "green", "failed": "red", "part-way": "cyan", "waiting": "dim"}
    table = Table("run", "state", "", title=study.title)
    for run in study.runs:
        state = states[run.name]
        table.add_row(
            run.name, state.status, state.detail, style=colours.get(state.status, "yellow")
        )
    # In a pipe, a wide console keeps rich from truncating names, which users copy from here.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def finish_study(
    study: Study, folder: Path, states: "dict[str, State]", all_selected: bool
) -> None:
    """Write and print the report, and list the runs that are not done with the reason.

    Args:
        study: The study.
        folder: Its workdir.
        states: The state of each run by its name.
        all_selected: Whether all runs of the study were selected; without it no report is written.
    """
    if all_selected:
        from ssl_jax.reporting import report  # imports JAX

        page = report.write_report(folder)
        report.print_tables(folder)
        print(f"report: {page}")
    else:
        print(
            f"when all runs are done, write the report: python -m ssl_jax.report --workdir {folder}"
        )
    for status in ("failed", "blocked", "needs weights", "running elsewhere"):
        names = [run.name for run in study.runs if states[run.name].status == status]
        for detail in dict.fromkeys(states[name].detail for name in names):
            with_detail = [name for name in names if states[name].detail == detail]
            print(f"{status}: {', '.join(with_detail)}: {detail}", file=sys.stderr)


if __name__ == "__main__":
    terminal.run_command(main)
