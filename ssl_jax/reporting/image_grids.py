"""Grids of example images: inputs, views, predictions and reconstructions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from data_pipelines.files.display import (
    FALSE_COLOUR,
    TRUE_COLOUR,
    colour_labels,
    has_display_bands,
    to_display_rgb,
)
from ssl_jax.reporting import estimates
from ssl_jax.reporting.report_figure import ReportFigure
from ssl_jax.reporting.study_results import StudyResults

__all__ = ["draw_reconstructions", "draw_scene_gallery", "draw_segmentations", "draw_simclr_views"]

_NUM_EXAMPLES = 5
_EXCLUDED_COLOUR = (70, 70, 70)


def draw_scene_gallery(results: StudyResults) -> list[ReportFigure]:
    """Draw scenes with the predictions of the best row of a table's last column.

    Args:
        results: The results of the study.

    Returns:
        A figure for each table of scene classification that has results.
    """
    report_figures = []
    for table in results.study.tables:
        last_column = [row.cells[-1] for row in table.rows]
        scores = [
            (estimate.mean, cell.runs[0])
            for cell in last_column
            if (estimate := estimates.estimate_cell(results, cell)) is not None
        ]
        name = max(scores)[1] if scores else ""
        samples = results.load_samples(name) if name in results.by_run else {}
        if "label" not in samples:
            continue
        run_results = results.by_run[name]
        classes, bands = run_results["classes"], run_results["data"]["bands"]
        figure, grid = _make_image_grid(1, len(samples["image"]), 1.45)
        for axes, image, label, probabilities in zip(
            grid[0], samples["image"], samples["label"], samples["scores"], strict=True
        ):
            axes.imshow(to_display_rgb(image, bands))
            axes.set_title(classes[label], size=8)
            predicted = int(probabilities.argmax())
            text = f"{classes[predicted]} {100 * probabilities[predicted]:.0f} %"
            ink = "#228833" if predicted == label else "#cc3311"
            axes.set_xlabel(text, size=8, color=ink)
        caption = f"Scenes: true class above, prediction below ({name})"
        report_figures.append(ReportFigure(table.name, f"{table.name}_gallery", caption, figure))
    return report_figures


def draw_segmentations(results: StudyResults) -> list[ReportFigure]:
    """Draw test images with their true masks and the masks predicted by each row of a table.

    Args:
        results: The results of the study.

    Returns:
        A figure for each table of semantic segmentation that has results.
    """
    report_figures = []
    for table in results.study.tables:
        samples = {
            row.title: arrays
            for row in table.rows
            if "prediction" in (arrays := results.load_samples(row.cells[0].runs[0]))
        }
        run_results = next(
            (r for row in table.rows if (r := results.by_run.get(row.cells[0].runs[0]))), None
        )
        if not samples or run_results is None:
            continue
        bands = run_results["data"]["bands"]
        excluded = run_results["config"]["objective"]["excluded"]
        colours = {
            name: _EXCLUDED_COLOUR if name in excluded else colour
            for name, colour in zip(run_results["classes"], run_results["colours"], strict=True)
        }
        schemes = {"image": TRUE_COLOUR, "NIR, red, green": FALSE_COLOUR}
        schemes = {title: s for title, s in schemes.items() if has_display_bands(bands, s)}
        arrays = next(iter(samples.values()))
        masks = {"truth": arrays["mask"]}
        masks |= {title.replace(", ", ",\n", 1): s["prediction"] for title, s in samples.items()}
        figure, grid = _make_image_grid(
            min(4, len(arrays["image"])), len(schemes) + len(masks), 1.75
        )
        for axes_row, image, *labels in zip(grid, arrays["image"], *masks.values(), strict=False):
            panels = [to_display_rgb(image, bands, scheme) for scheme in schemes.values()]
            grey = to_display_rgb(image, bands).mean(axis=-1, keepdims=True)
            panels += [_blend(colour_labels(m, list(colours.values())), grey) for m in labels]
            for axes, panel in zip(axes_row, panels, strict=True):
                axes.imshow(panel, interpolation="nearest")
        for axes, title in zip(grid[0], [*schemes, *masks], strict=True):
            axes.set_title(title, size=8)
        _add_class_legend(figure, colours, excluded)
        caption = f"{table.subject}: true and predicted masks of test images"
        report_figures.append(ReportFigure(table.name, f"{table.name}_maps", caption, figure))
    return report_figures


def _blend(colours: np.ndarray, grey: np.ndarray | float) -> np.ndarray:
    """Blend class colours with the grey image, so that the image is visible below them."""
    return 0.7 * colours + 0.3 * grey


def _add_class_legend(
    figure: Figure, colours: dict[str, Sequence[int]], excluded: Sequence[str]
) -> None:
    handles = [
        Patch(
            facecolor=tuple(_blend(np.divide(colour, 255), 0.65)),
            edgecolor="#888888",
            label=f"{name} (excluded)" if name in excluded else name,
        )
        for name, colour in colours.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)


def draw_reconstructions(results: StudyResults) -> list[ReportFigure]:
    """Draw tiles with their masked input and their reconstruction by the masked autoencoder.

    Args:
        results: The results of the study.

    Returns:
        A figure for each run of the objective `mae` that has samples.
    """
    report_figures = []
    for name, run_results in results.filter_by_objective("mae"):
        samples, bands = results.load_samples(name), run_results["data"]["bands"]
        if not samples:
            continue
        originals = samples["image"][:_NUM_EXAMPLES]
        schemes = {"true colour": TRUE_COLOUR, "false colour: NIR, red, green": FALSE_COLOUR}
        schemes = {title: s for title, s in schemes.items() if has_display_bands(bands, s)}
        figure, grid = _make_image_grid(3 * len(schemes), len(originals))
        for rows, (title, scheme) in zip(
            np.split(grid, len(schemes)), schemes.items(), strict=True
        ):
            rows[0, len(originals) // 2].set_title(title, size=10)
            for axes, label in zip(
                rows[:, 0], ("tile", "masked input", "reconstruction"), strict=True
            ):
                axes.set_ylabel(label)
            for column, original, masked, reconstruction in zip(
                rows.T, originals, samples["masked"], samples["reconstruction"], strict=False
            ):
                is_hidden = np.abs(masked - original).max(axis=-1, keepdims=True) > 1e-4
                tile = to_display_rgb(original, bands, scheme)
                column[0].imshow(tile)
                column[1].imshow(np.where(is_hidden, 0.88, tile))
                column[2].imshow(to_display_rgb(reconstruction, bands, scheme, reference=original))
        percentage = 100 * run_results["config"]["objective"]["mask_ratio"]
        caption = f"Masked autoencoder: {percentage:.0f} % of the patches are masked and predicted"
        file = f"{name.rpartition('/')[2]}_reconstructions"
        report_figures.append(ReportFigure("pretraining", file, caption, figure))
    return report_figures


def draw_simclr_views(results: StudyResults) -> list[ReportFigure]:
    """Draw tiles with their two views, each stretched, for the run of SimCLR with the most bands.

    Args:
        results: The results of the study.

    Returns:
        One figure; none if no run of the objective `simclr` has samples.
    """
    runs = [
        (name, run_results)
        for name, run_results in results.filter_by_objective("simclr")
        if results.load_samples(name)
    ]
    if not runs:
        return []
    name, run_results = max(runs, key=lambda run: len(run[1]["data"]["bands"]))
    samples, bands = results.load_samples(name), run_results["data"]["bands"]
    originals = samples["image"][: _NUM_EXAMPLES + 1]
    figure, grid = _make_image_grid(3, len(originals))
    titles = {"image": "tile", "view_1": "first view", "view_2": "second view"}
    for row, (key, title) in zip(grid, titles.items(), strict=True):
        row[0].set_ylabel(title)
        for axes, image in zip(row, samples[key][: len(originals)], strict=True):
            axes.imshow(to_display_rgb(image, bands))
    caption = (
        "SimCLR: two augmented views of each tile, which form a positive pair. Each is stretched "
        "on its own, since many would print black: the network sees their different brightness and "
        "contrast as well"
    )
    return [ReportFigure("pretraining", "simclr_views", caption, figure)]


def _make_image_grid(rows: int, columns: int, size: float = 1.5) -> tuple[Figure, np.ndarray]:
    """Make a figure with a grid of axes for images of the given size in inches.

    Returns:
        The figure and its axes, (rows, columns).
    """
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(size * columns + 0.3, size * rows + 0.3), layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        _remove_decorations(axes)
    return figure, grid


def _remove_decorations(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
