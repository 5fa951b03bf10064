"""The report of a study, from what its runs wrote: pages, tables at the terminal, and JSON."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from data_pipelines.files.writing import write_json, write_text
from ssl_jax.reporting.conclusions import state_conclusion
from ssl_jax.reporting.estimates import Estimate, estimate_cell, estimate_contrast
from ssl_jax.reporting.page import (
    RenderedFigure,
    Section,
    render_html,
    render_markdown,
    render_terminal_table,
)
from ssl_jax.reporting.study_results import StudyResults, read_study_results
from ssl_jax.reporting.tables import (
    make_contrast_table,
    make_cost_table,
    make_result_table,
    make_search_table,
    uses_other_data,
)
from ssl_jax.reporting.text_table import MISSING

__all__ = ["print_tables", "report_to_dict", "write_report"]


def write_report(workdir: str | Path) -> Path:
    """Write `report.html`, `report.md`, `results.json` and `figures/` into a study's workdir.

    Runs that aren't done yet are left out, their cells marked.

    Returns:
        Where `report.html` lies.

    Raises:
        UserError: `workdir` holds no study.
    """
    # Here, because it imports matplotlib, which nobody else should have to wait for.
    from ssl_jax.reporting.figures import draw_figures

    folder = Path(workdir)
    records = read_study_results(folder)
    pictures = draw_figures(records)
    (folder / "figures").mkdir(exist_ok=True)
    for picture in pictures:
        (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)
    sections = arrange_sections(records, pictures)
    title = records.study.title
    write_text(folder / "report.md", render_markdown(title, sections, figures="figures"))
    write_text(folder / "report.html", render_html(title, sections))
    write_json(folder / "results.json", report_to_dict(records))
    return folder / "report.html"


def arrange_sections(records: StudyResults, pictures: Sequence[RenderedFigure]) -> list[Section]:
    """The report's sections, from what was found to what it cost."""

    def of(section: str) -> list[RenderedFigure]:
        return [picture for picture in pictures if picture.section == section]

    sections: list[Section] = [("What it says", summarise(records))]
    for table in records.study.tables:
        grids = [make_result_table(records, table), make_contrast_table(records, table)]
        sections.append((table.subject, [*grids, *of(table.name)]))
    sections.append(("Pretraining", of("pretraining")))
    sections.append(("Learning curves", of("transfer")))
    if grid := make_search_table(records):
        sections.append(("Learning rates", [grid]))
    if records.results:
        sections.append(("Cost", [make_cost_table(records)]))
    return [(heading, parts) for heading, parts in sections if parts]


def summarise(records: StudyResults) -> list[str]:
    """What the tables say in a sentence each, and how far that can be trusted."""
    said = [state_conclusion(records, table) for table in records.study.tables]
    done, runs = len(records.results), len(records.study.runs)
    if done < runs:
        said.append(f"{done} of {runs} runs are done; what is missing is marked {MISSING}.")
    said.append(records.study.note)
    return [sentence for sentence in said if sentence]


def print_tables(workdir: str | Path) -> None:
    """Print the study's tables and what they say."""
    records = read_study_results(Path(workdir))
    # A pipe or a log file has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 132)
    for table in records.study.tables:
        console.print(render_terminal_table(make_result_table(records, table)))
        if sentence := state_conclusion(records, table):
            console.print(sentence, style="bold")
        console.print()


def report_to_dict(records: StudyResults) -> dict[str, Any]:
    """The study's `results.json`: figures in percent, differences in points."""

    def numbers(value: Estimate | None) -> dict[str, Any] | None:
        if value is None:
            return None
        std = None if math.isnan(value.std) else value.std
        interval = None if value.interval is None else list(value.interval)
        return {"mean": value.mean, "std": std, "seeds": value.seeds, "interval": interval}

    tables = {}
    for table in records.study.tables:
        rows = {
            row.title: {
                column: {"ours": numbers(estimate_cell(records, cell)), "paper": cell.published}
                for column, cell in zip(table.columns, row.cells, strict=True)
            }
            for row in table.rows
        }
        contrasts = {
            contrast.what: {
                column: numbers(value)
                for column, value in zip(
                    table.columns, estimate_contrast(records, table, contrast), strict=True
                )
            }
            for contrast in table.contrasts
        }
        tables[table.name] = {
            "title": table.title,
            "other_data": uses_other_data(records, table),
            "rows": rows,
            "differences": contrasts,
            "answer": state_conclusion(records, table),
        }
    runs = {name: results["metrics"] for name, results in records.results.items()}
    return {"title": records.study.title, "tables": tables, "runs": runs}
