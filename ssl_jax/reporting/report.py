"""The report of a study: pages, figures, JSON, and tables at the terminal."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from data_pipelines.files.writing import replace_non_finite, write_json, write_text
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

    Values of runs that are not done yet are marked as missing.

    Args:
        workdir: The study's workdir.

    Returns:
        The path of `report.html`.

    Raises:
        UserError: If `workdir` contains no study.
    """
    # Imported here because matplotlib is slow to import, and only needed here.
    from ssl_jax.reporting.figures import draw_figures

    folder = Path(workdir)
    results = read_study_results(folder)
    figures = draw_figures(results)
    (folder / "figures").mkdir(exist_ok=True)
    for figure in figures:
        (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
    sections = arrange_sections(results, figures)
    title = results.study.title
    write_text(folder / "report.md", render_markdown(title, sections, figure_folder="figures"))
    write_text(folder / "report.html", render_html(title, sections))
    write_json(folder / "results.json", replace_non_finite(report_to_dict(results)))
    return folder / "report.html"


def arrange_sections(results: StudyResults, figures: Sequence[RenderedFigure]) -> list[Section]:
    """Arrange the summary, tables and figures in the sections of the report.

    Args:
        results: The results of the study.
        figures: All figures of the report.

    Returns:
        The sections that have content, from the summary to the training cost.
    """

    def select_figures(section: str) -> list[RenderedFigure]:
        return [figure for figure in figures if figure.section == section]

    sections: list[Section] = [("Summary", summarise(results))]
    for table in results.study.tables:
        text_tables = [make_result_table(results, table), make_contrast_table(results, table)]
        sections.append((table.subject, [*text_tables, *select_figures(table.name)]))
    sections.append(("Pretraining", select_figures("pretraining")))
    sections.append(("Learning curves", select_figures("transfer")))
    if search_table := make_search_table(results):
        sections.append(("Learning rates", [search_table]))
    if results.by_run:
        sections.append(("Cost", [make_cost_table(results)]))
    return [(heading, content) for heading, content in sections if content]


def summarise(results: StudyResults) -> list[str]:
    """Return the conclusion of each table, and notes on missing runs and on the study."""
    paragraphs = [state_conclusion(results, table) for table in results.study.tables]
    num_done, num_runs = len(results.by_run), len(results.study.runs)
    if num_done < num_runs:
        paragraphs.append(
            f"{num_done} of {num_runs} runs are done; missing values are marked {MISSING}."
        )
    paragraphs.append(results.study.note)
    return [paragraph for paragraph in paragraphs if paragraph]


def print_tables(workdir: str | Path) -> None:
    """Print the tables of scores of a study, and the conclusion from each.

    Args:
        workdir: The study's workdir.

    Raises:
        UserError: If `workdir` contains no study.
    """
    results = read_study_results(Path(workdir))
    # A pipe or a log file has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else 132)
    for table in results.study.tables:
        console.print(render_terminal_table(make_result_table(results, table)))
        if conclusion := state_conclusion(results, table):
            console.print(conclusion, style="bold")
        console.print()


def report_to_dict(results: StudyResults) -> dict[str, Any]:
    """Return the content of the study's `results.json`: scores in percent, differences in points.

    Args:
        results: The results of the study.
    """
    tables = {}
    for table in results.study.tables:
        rows = {
            row.title: {
                column: {
                    "ours": _estimate_to_dict(estimate_cell(results, cell)),
                    "paper": cell.published,
                }
                for column, cell in zip(table.columns, row.cells, strict=True)
            }
            for row in table.rows
        }
        differences = {
            contrast.what: {
                column: _estimate_to_dict(estimate)
                for column, estimate in zip(
                    table.columns, estimate_contrast(results, table, contrast), strict=True
                )
            }
            for contrast in table.contrasts
        }
        tables[table.name] = {
            "title": table.title,
            "other_data": uses_other_data(results, table),
            "rows": rows,
            "differences": differences,
            "answer": state_conclusion(results, table),
        }
    runs = {name: run_results["metrics"] for name, run_results in results.by_run.items()}
    return {"title": results.study.title, "tables": tables, "runs": runs}


def _estimate_to_dict(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    std = None if math.isnan(estimate.std) else estimate.std
    interval = None if estimate.interval is None else list(estimate.interval)
    return {"mean": estimate.mean, "std": std, "seeds": estimate.seeds, "interval": interval}
