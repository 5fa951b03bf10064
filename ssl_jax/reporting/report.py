"""The report of a study, from what its runs wrote: pages, tables at the terminal, and JSON."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from data_pipelines.files.writing import write_json, write_text
from ssl_jax.reporting.answers import answer
from ssl_jax.reporting.estimates import Figure, differences, figure
from ssl_jax.reporting.grids import MISSING
from ssl_jax.reporting.page import Picture, Section, html, markdown, terminal_table
from ssl_jax.reporting.records import Records, read_study
from ssl_jax.reporting.tables import (
    cost_grid,
    difference_grid,
    is_other_data,
    result_grid,
    search_grid,
)

__all__ = ["show_tables", "to_dict", "write"]


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
    write_json(folder / "results.json", to_dict(records))
    return folder / "report.html"


def arrange(records: Records, pictures: Sequence[Picture]) -> list[Section]:
    """The report's sections, from what was found to what it cost."""

    def of(section: str) -> list[Picture]:
        return [picture for picture in pictures if picture.section == section]

    sections: list[Section] = [("What it says", summary(records))]
    for table in records.study.tables:
        grids = [result_grid(records, table), difference_grid(records, table)]
        sections.append((table.subject, [*grids, *of(table.name)]))
    sections.append(("Pretraining", of("pretraining")))
    sections.append(("Learning curves", of("transfer")))
    if grid := search_grid(records):
        sections.append(("Learning rates", [grid]))
    if records.results:
        sections.append(("Cost", [cost_grid(records)]))
    return [(heading, parts) for heading, parts in sections if parts]


def summary(records: Records) -> list[str]:
    """What the tables say in a sentence each, and how far that can be trusted."""
    said = [answer(records, table) for table in records.study.tables]
    done, runs = len(records.results), len(records.study.runs)
    if done < runs:
        said.append(f"{done} of {runs} runs are done; what is missing is marked {MISSING}.")
    said.append(records.study.note)
    return [sentence for sentence in said if sentence]


def show_tables(workdir: str | Path) -> None:
    """Print the study's tables and what they say."""
    records = read_study(Path(workdir))
    # A pipe or a log file has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 132)
    for table in records.study.tables:
        console.print(terminal_table(result_grid(records, table)))
        if sentence := answer(records, table):
            console.print(sentence, style="bold")
        console.print()


def to_dict(records: Records) -> dict[str, Any]:
    """The study's `results.json`: figures in percent, differences in points."""

    def numbers(value: Figure | None) -> dict[str, Any] | None:
        if value is None:
            return None
        std = None if math.isnan(value.std) else value.std
        interval = None if value.interval is None else list(value.interval)
        return {"mean": value.mean, "std": std, "seeds": value.seeds, "interval": interval}

    tables = {}
    for table in records.study.tables:
        rows = {
            row.title: {
                column: {"ours": numbers(figure(records, cell)), "paper": cell.published}
                for column, cell in zip(table.columns, row.cells, strict=True)
            }
            for row in table.rows
        }
        contrasts = {
            contrast.what: {
                column: numbers(value)
                for column, value in zip(
                    table.columns, differences(records, table, contrast), strict=True
                )
            }
            for contrast in table.contrasts
        }
        tables[table.name] = {
            "title": table.title,
            "other_data": is_other_data(records, table),
            "rows": rows,
            "differences": contrasts,
            "answer": answer(records, table),
        }
    runs = {name: results["metrics"] for name, results in records.results.items()}
    return {"title": records.study.title, "tables": tables, "runs": runs}
