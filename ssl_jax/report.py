"""The report of a study, from what its runs wrote: `python -m ssl_jax.report --workdir FOLDER`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ssl_jax import terminal
from ssl_jax.reporting import tables
from ssl_jax.reporting.page import Picture, Section, html, markdown, terminal_table
from ssl_jax.reporting.records import Records, read_study
from ssl_jax.training.logs import write_json, write_text

__all__ = ["main", "show_tables", "write"]


def write(workdir: str | Path) -> Path:
    """Write `report.html`, `report.md`, `results.json` and `figures/` into a study's workdir.

    Runs that aren't done yet are left out, their cells marked.

    Returns:
        Where `report.html` lies.

    Raises:
        UserError: `workdir` holds no study.
    """
    # Here, because it imports matplotlib, which nobody else should have to wait for.
    from ssl_jax.reporting.figures import draw

    folder = Path(workdir)
    records = read_study(folder)
    pictures = draw(records)
    (folder / "figures").mkdir(exist_ok=True)
    for picture in pictures:
        (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)
    sections = arrange(records, pictures)
    title = records.study.title
    write_text(folder / "report.md", markdown(title, sections, figures="figures"))
    write_text(folder / "report.html", html(title, sections))
    write_json(folder / "results.json", tables.to_dict(records))
    return folder / "report.html"


def arrange(records: Records, pictures: Sequence[Picture]) -> list[Section]:
    """The report's sections, from what was found to what it cost."""

    def of(section: str) -> list[Picture]:
        return [picture for picture in pictures if picture.section == section]

    sections: list[Section] = [("What it says", summary(records))]
    for table in records.study.tables:
        grids = [tables.result_grid(records, table), tables.difference_grid(records, table)]
        sections.append((table.subject, [*grids, *of(table.name)]))
    sections.append(("Pretraining", of("pretraining")))
    sections.append(("Learning curves", of("transfer")))
    if grid := tables.search_grid(records):
        sections.append(("Learning rates", [grid]))
    if records.results:
        sections.append(("Cost", [tables.cost_grid(records)]))
    return [(heading, parts) for heading, parts in sections if parts]


def summary(records: Records) -> list[str]:
    """What the tables say in a sentence each, and how far that can be trusted."""
    said = [tables.answer(records, table) for table in records.study.tables]
    done, runs = len(records.results), len(records.study.runs)
    if done < runs:
        said.append(f"{done} of {runs} runs are done; what is missing is marked {tables.MISSING}.")
    said.append(records.study.note)
    return [sentence for sentence in said if sentence]


def show_tables(workdir: str | Path) -> None:
    """Print the study's tables and what they say."""
    records = read_study(Path(workdir))
    # A pipe or a log file has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 132)
    for table in records.study.tables:
        console.print(terminal_table(tables.result_grid(records, table)))
        if sentence := tables.answer(records, table):
            console.print(sentence, style="bold")
        console.print()


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
    page = write(known.workdir)
    show_tables(known.workdir)
    print(f"report: {page}")
    return 0


if __name__ == "__main__":
    terminal.run(main)
