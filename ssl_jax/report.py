"""The report of a study, from what its runs wrote: `python -m ssl_jax.report --workdir FOLDER`."""

import argparse
from collections.abc import Sequence

from ssl_jax import terminal
from ssl_jax.reporting.report import print_tables, write_report

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """The door."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.report",
        description=(
            "Write the report of a study, finished or half-done: report.html (one file, to send to "
            "anybody), report.md, results.json and the figures. It reads only what the runs wrote."
        ),
    )
    parser.add_argument("--workdir", required=True, help="that of `python -m ssl_jax.study`")
    known = parser.parse_args(arguments)
    page = write_report(known.workdir)
    print_tables(known.workdir)
    print(f"report: {page}")
    return 0


if __name__ == "__main__":
    terminal.run_command(main)
