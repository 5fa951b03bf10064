"""Charts of the report: accuracies as bars, losses as curves, confusions as matrices."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from ssl_jax.reporting import estimates
from ssl_jax.reporting.report_figure import ReportFigure
from ssl_jax.reporting.study_results import StudyResults
from ssl_jax.reporting.tables import uses_other_data
from ssl_jax.studies.plan import Table

__all__ = [
    "draw_accuracy_bars",
    "draw_confusion_matrices",
    "draw_pretraining_curves",
    "draw_transfer_curves",
]

# Of Paul Tol's "bright" scheme, which all eyes can tell apart.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_GREYS = ("#8c8c8c", "#b0b0b0", "#cfcfcf")
_OBJECTIVES = {
    "simclr": "SimCLR: NT-Xent, both views",
    "mae": "MAE: error on hidden patches",
    "classification": "Supervised: cross-entropy",
}


def draw_accuracy_bars(records: StudyResults) -> list[ReportFigure]:
    """Each table as bars, a panel a column, the paper's figures as marks."""
    drawings = []
    for table in records.study.tables:
        if not any(name in records.results for name in _runs(table)):
            continue
        figure = Figure(figsize=(2.4 + 2.6 * len(table.columns), 0.9 + 0.42 * len(table.rows)))
        panels = figure.subplots(1, len(table.columns), sharey=True, squeeze=False)[0]
        for column, axes in enumerate(panels):
            _bars(axes, records, table, column)
        panels[0].set_yticks(range(len(table.rows)), [row.title for row in table.rows])
        panels[0].invert_yaxis()
        if marks := panels[0].get_legend_handles_labels()[0]:
            other = ", on other data" if uses_other_data(records, table) else ""
            figure.legend(marks, [f"the paper{other}"], loc="lower left")
        figure.tight_layout()
        drawings.append(ReportFigure(table.name, f"{table.name}_bars", table.title, figure))
    return drawings


def _runs(table: Table) -> list[str]:
    return [name for row in table.rows for cell in row.cells for name in cell.runs]


def _bars(axes: Axes, records: StudyResults, table: Table, column: int) -> None:
    """One column of a table."""
    colours = _row_colours(table)
    for place, row in enumerate(table.rows):
        value = estimates.estimate_cell(records, row.cells[column])
        if value is None:
            axes.text(1, place, "not done yet", va="center", color="#999999", size=8)
            continue
        std = float(np.nan_to_num(value.std))
        axes.barh(place, value.mean, 0.62, color=colours[row.title], xerr=std or None)
        where, ink = max(value.mean - std, 14) - 2, "#222222" if row.baseline else "white"
        axes.text(where, place, f"{value.mean:.1f}", va="center", ha="right", size=8, color=ink)
    paper = [(row.cells[column].published, place) for place, row in enumerate(table.rows)]
    if marks := [(x, place) for x, place in paper if x is not None]:
        axes.plot(*zip(*marks, strict=True), "D", color="#222222", mec="white", ms=6, label="paper")
    same = len(set(table.metrics)) == 1
    title = f"{table.metrics[column]} at {table.columns[column]}" if same else table.metrics[column]
    axes.set(xlim=(0, 102), xticks=range(0, 101, 25), title=title, xlabel="%")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _row_colours(table: Table) -> dict[str, str]:
    """Colours for what was pretrained, greys for the baselines."""
    learned = [row.title for row in table.rows if not row.baseline]
    baselines = [row.title for row in table.rows if row.baseline]
    return dict(zip(learned, _COLOURS, strict=False)) | dict(zip(baselines, _GREYS, strict=False))


def draw_pretraining_curves(records: StudyResults) -> list[ReportFigure]:
    """Losses of what other runs start from, a panel for each objective."""
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for run in records.study.runs for name in run.needs):
        if name in records.results:
            panels.setdefault(records.results[name]["objective"], []).append(name)
    if not panels:
        return []
    figure = Figure(figsize=(3.6 * len(panels), 2.8))
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (objective, names) in zip(columns, panels.items(), strict=True):
        for name, colour in zip(names, _COLOURS, strict=False):
            _curve(axes, *records.losses(name), colour, name.rpartition("/")[2])
        axes.set(title=_OBJECTIVES.get(objective, objective), xlabel="step", ylabel="loss")
        axes.legend(fontsize=8)
    figure.tight_layout()
    return [ReportFigure("pretraining", "pretraining_curves", "Pretraining: the loss", figure)]


def _curve(axes: Axes, steps: np.ndarray, losses: np.ndarray, colour: str, label: str) -> None:
    """A loss as it was logged, pale, and its running mean."""
    width = max(1, len(losses) // 20)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(steps, losses, color=colour, alpha=0.25, lw=0.8)
    axes.plot(steps[width - 1 :], smooth, color=colour, lw=1.6, label=label)


def draw_transfer_curves(records: StudyResults) -> list[ReportFigure]:
    """Training losses of each table's runs, a panel for each different set of runs."""
    panels = [
        (table, column)
        for table in records.study.tables
        for column in range(len(table.columns) if _differs(table) else 1)
        if any(row.cells[column].runs[0] in records.results for row in table.rows)
    ]
    if not panels:
        return []
    figure = Figure(figsize=(3.3 * len(panels), 3.9))
    for axes, (table, column) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        colours = _row_colours(table)
        for row in table.rows:
            name = row.cells[column].runs[0]
            if name in records.results:
                _curve(axes, *records.losses(name), colours[row.title], row.title)
        at = f" at {table.columns[column]}" if _differs(table) else ""
        axes.set(title=table.subject + at, xlabel="step", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        if (table, column - 1) not in panels:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(-0.1, -0.2))
    figure.axes[0].set_ylabel("training loss")
    figure.tight_layout()
    return [ReportFigure("transfer", "transfer_curves", "Transfer: the training loss", figure)]


def _differs(table: Table) -> bool:
    """Whether the table's columns stand for different runs."""
    return len({cell.runs for cell in table.rows[0].cells}) > 1


def draw_confusion_matrices(records: StudyResults) -> list[ReportFigure]:
    """What is taken for what, for each row in the table's first column."""
    drawings = []
    for table in records.study.tables:
        found = [(row.title, records.results.get(row.cells[0].runs[0], {})) for row in table.rows]
        found = [(title, results) for title, results in found if "confusion" in results]
        if not found:
            continue
        across = min(4, len(found))
        down = -(-len(found) // across)
        size = (2.6 * across + 1.7, 2.45 * down + 1.2)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (title, results) in zip(grid.flat, found, strict=False):
            image = _confusion(axes, results, axes in grid[-1], axes in grid[:, 0])
            axes.set_title(title, size=8)
        figure.colorbar(image, ax=grid, shrink=0.6, label="% of the true class (row)", pad=0.01)
        at = f" at {table.columns[0]}" if _differs(table) else ""
        title = f"{table.subject}{at}: true classes by row, predicted by column"
        drawings.append(ReportFigure(table.name, f"{table.name}_confusion", title, figure))
    return drawings


def _confusion(axes: Axes, results: Mapping[str, Any], below: bool, beside: bool) -> Any:
    """A confusion matrix in percent of its rows, with the classes' names below and beside it."""
    counts = np.asarray(results["confusion"], float)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    excluded = results["config"]["objective"].get("excluded", ())
    names = [name for name in results["classes"] if name not in excluded]
    axes.set_xticks(range(len(names)), names if below else [], rotation=90, size=7)
    axes.set_yticks(range(len(names)), names if beside else [], size=7)
    axes.grid(visible=False)
    for (true, predicted), share in np.ndenumerate(shares):
        if share >= 0.5:
            ink = "white" if share > 55 else "#333333"
            label = axes.text(predicted, true, f"{share:.0f}", color=ink, size=6)
            label.set(ha="center", va="center")
    return axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
