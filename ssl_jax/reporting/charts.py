"""Charts of the report: bars of scores, loss curves and confusion matrices."""

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

# From Paul Tol's "bright" scheme, which is safe for colour-blind readers.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_GREYS = ("#8c8c8c", "#b0b0b0", "#cfcfcf")
_OBJECTIVE_TITLES = {
    "simclr": "SimCLR: NT-Xent of two views",
    "mae": "MAE: error on masked patches",
    "classification": "Supervised: cross-entropy",
}


def draw_accuracy_bars(results: StudyResults) -> list[ReportFigure]:
    """Draw the scores of each table as bars, with a panel per column and the published values.

    Args:
        results: The results of the study.

    Returns:
        A figure for each table that has results.
    """
    report_figures = []
    for table in results.study.tables:
        if not any(name in results.by_run for name in _list_run_names(table)):
            continue
        figure = Figure(figsize=(2.4 + 2.6 * len(table.columns), 0.9 + 0.42 * len(table.rows)))
        panels = figure.subplots(1, len(table.columns), sharey=True, squeeze=False)[0]
        for column, axes in enumerate(panels):
            _draw_bars(axes, results, table, column)
        panels[0].set_yticks(range(len(table.rows)), [row.title for row in table.rows])
        panels[0].invert_yaxis()
        if markers := panels[0].get_legend_handles_labels()[0]:
            suffix = ", on other data" if uses_other_data(results, table) else ""
            figure.legend(markers, [f"published{suffix}"], loc="lower left")
        figure.tight_layout()
        report_figures.append(ReportFigure(table.name, f"{table.name}_bars", table.title, figure))
    return report_figures


def _list_run_names(table: Table) -> list[str]:
    return [name for row in table.rows for cell in row.cells for name in cell.runs]


def _draw_bars(axes: Axes, results: StudyResults, table: Table, column: int) -> None:
    """Draw the bars of one column of a table."""
    colours = _choose_row_colours(table)
    for y, row in enumerate(table.rows):
        value = estimates.estimate_cell(results, row.cells[column])
        if value is None:
            axes.text(1, y, "no results yet", va="center", color="#999999", size=8)
            continue
        std = float(np.nan_to_num(value.std))
        axes.barh(y, value.mean, 0.62, color=colours[row.title], xerr=std or None)
        x, ink = max(value.mean - std, 14) - 2, "#222222" if row.baseline else "white"
        axes.text(x, y, f"{value.mean:.1f}", va="center", ha="right", size=8, color=ink)
    published = [(row.cells[column].published, y) for y, row in enumerate(table.rows)]
    if points := [(x, y) for x, y in published if x is not None]:
        axes.plot(
            *zip(*points, strict=True), "D", color="#222222", mec="white", ms=6, label="paper"
        )
    same_metric = len(set(table.metrics)) == 1
    metric, heading = table.metrics[column], table.columns[column]
    title = f"{metric} at {heading}" if same_metric else metric
    axes.set(xlim=(0, 102), xticks=range(0, 101, 25), title=title, xlabel="%")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _choose_row_colours(table: Table) -> dict[str, str]:
    """Assign colours to the pretrained rows and greys to the baselines."""
    pretrained = [row.title for row in table.rows if not row.baseline]
    baselines = [row.title for row in table.rows if row.baseline]
    colours = dict(zip(pretrained, _COLOURS, strict=False))
    return colours | dict(zip(baselines, _GREYS, strict=False))


def draw_pretraining_curves(results: StudyResults) -> list[ReportFigure]:
    """Draw the training losses of the runs that other runs need, with a panel per objective.

    Args:
        results: The results of the study.

    Returns:
        One figure; none if there are no such runs with results.
    """
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for run in results.study.runs for name in run.needs):
        if name in results.by_run:
            panels.setdefault(results.by_run[name]["objective"], []).append(name)
    if not panels:
        return []
    figure = Figure(figsize=(3.6 * len(panels), 2.8))
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (objective, names) in zip(columns, panels.items(), strict=True):
        for name, colour in zip(names, _COLOURS, strict=False):
            _draw_curve(axes, *results.load_losses(name), colour, name.rpartition("/")[2])
        axes.set(title=_OBJECTIVE_TITLES.get(objective, objective), xlabel="step", ylabel="loss")
        axes.legend(fontsize=8)
    figure.tight_layout()
    return [ReportFigure("pretraining", "pretraining_curves", "Pretraining loss", figure)]


def _draw_curve(axes: Axes, steps: np.ndarray, losses: np.ndarray, colour: str, label: str) -> None:
    """Draw a loss as logged, in a pale colour, and its moving average."""
    width = max(1, len(losses) // 20)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(steps, losses, color=colour, alpha=0.25, lw=0.8)
    axes.plot(steps[width - 1 :], smooth, color=colour, lw=1.6, label=label)


def draw_transfer_curves(results: StudyResults) -> list[ReportFigure]:
    """Draw the training losses of each table's runs, with a panel per column of different runs.

    Args:
        results: The results of the study.

    Returns:
        One figure; none if there are no results.
    """
    panels = [
        (table, column)
        for table in results.study.tables
        for column in range(len(table.columns) if _columns_differ_in_runs(table) else 1)
        if any(row.cells[column].runs[0] in results.by_run for row in table.rows)
    ]
    if not panels:
        return []
    figure = Figure(figsize=(3.3 * len(panels), 3.9))
    for axes, (table, column) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        colours = _choose_row_colours(table)
        for row in table.rows:
            name = row.cells[column].runs[0]
            if name in results.by_run:
                _draw_curve(axes, *results.load_losses(name), colours[row.title], row.title)
        suffix = f" at {table.columns[column]}" if _columns_differ_in_runs(table) else ""
        axes.set(title=table.subject + suffix, xlabel="step", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        if (table, column - 1) not in panels:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(-0.1, -0.2))
    figure.axes[0].set_ylabel("training loss")
    figure.tight_layout()
    return [ReportFigure("transfer", "transfer_curves", "Training loss of the transfer", figure)]


def _columns_differ_in_runs(table: Table) -> bool:
    """Return whether the columns are scores of different runs rather than metrics of the same."""
    return len({cell.runs for cell in table.rows[0].cells}) > 1


def draw_confusion_matrices(results: StudyResults) -> list[ReportFigure]:
    """Draw the confusion matrix of each row of a table, for the first seed of the first column.

    Args:
        results: The results of the study.

    Returns:
        A figure for each table that has confusion matrices.
    """
    report_figures = []
    for table in results.study.tables:
        matrices = [
            (row.title, run_results)
            for row in table.rows
            if "confusion" in (run_results := results.by_run.get(row.cells[0].runs[0], {}))
        ]
        if not matrices:
            continue
        num_columns = min(4, len(matrices))
        num_rows = -(-len(matrices) // num_columns)
        size = (2.6 * num_columns + 1.7, 2.45 * num_rows + 1.2)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(num_rows, num_columns, squeeze=False)
        for axes in grid.flat[len(matrices) :]:
            axes.set_visible(False)
        for axes, (title, run_results) in zip(grid.flat, matrices, strict=False):
            is_bottom, is_left = axes in grid[-1], axes in grid[:, 0]
            image = _draw_confusion_matrix(axes, run_results, is_bottom, is_left)
            axes.set_title(title, size=8)
        figure.colorbar(image, ax=grid, shrink=0.6, label="% of the true class (row)", pad=0.01)
        suffix = f" at {table.columns[0]}" if _columns_differ_in_runs(table) else ""
        caption = f"{table.subject}{suffix}: true classes by row, predicted classes by column"
        report_figures.append(ReportFigure(table.name, f"{table.name}_confusion", caption, figure))
    return report_figures


def _draw_confusion_matrix(
    axes: Axes, results: Mapping[str, Any], label_columns: bool, label_rows: bool
) -> Any:
    """Draw a confusion matrix in percent of each row, optionally with class names.

    Args:
        axes: Axes to draw on.
        results: Content of a run's `results.json`.
        label_columns: Whether to print the class names below the columns.
        label_rows: Whether to print the class names beside the rows.

    Returns:
        The drawn image, for a colour bar.
    """
    counts = np.asarray(results["confusion"], float)
    percentages = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    excluded = results["config"]["objective"].get("excluded", ())
    names = [name for name in results["classes"] if name not in excluded]
    axes.set_xticks(range(len(names)), names if label_columns else [], rotation=90, size=7)
    axes.set_yticks(range(len(names)), names if label_rows else [], size=7)
    axes.grid(visible=False)
    for (true, predicted), percentage in np.ndenumerate(percentages):
        if percentage >= 0.5:
            ink = "white" if percentage > 55 else "#333333"
            label = axes.text(predicted, true, f"{percentage:.0f}", color=ink, size=6)
            label.set(ha="center", va="center")
    return axes.imshow(percentages, cmap="Blues", vmin=0, vmax=100)
