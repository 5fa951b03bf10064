"""The report of a study: `python -m ssl_jax.report --workdir FOLDER`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssl_jax import terminal
from ssl_jax.studies.plan import read_study

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.report",
        description=(
            "Write the report of a study, finished or not: report.html (a self-contained page), "
            "report.md, results.json and the figures. Only the files of the study's runs are read."
        ),
    )
    parser.add_argument(
        "--workdir", required=True, help="workdir of the study, as given to ssl_jax.study"
    )
    args = parser.parse_args(argv)
    read_study(Path(args.workdir))  # an error, if there is none
    return _report(args.workdir)


def _report(workdir: str) -> int:
    # Imported after the folder was checked: see `terminal`.
    from ssl_jax.reporting.report import print_tables, write_report

    page = write_report(workdir)
    print_tables(workdir)
    print(f"report: {page}")
    return 0


if __name__ == "__main__":
    terminal.run_command(main)
