"""Sheets of pictures: what the networks see, and what they make of it."""

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

_EXAMPLES = 5
_NOT_COUNTED = (70, 70, 70)


def draw_scene_gallery(records: StudyResults) -> list[ReportFigure]:
    """Scenes with the answers of the best row, where most of them are labelled."""
    drawings = []
    for table in records.study.tables:
        last = [row.cells[-1] for row in table.rows]
        found = [
            (f.mean, c.runs[0])
            for c in last
            if (f := estimates.estimate_cell(records, c)) is not None
        ]
        name = max(found)[1] if found else ""
        samples = records.samples(name) if name in records.results else {}
        if "label" not in samples:
            continue
        classes, bands = records.results[name]["classes"], records.results[name]["data"]["bands"]
        figure, grid = _sheet(1, len(samples["image"]), 1.45)
        for axes, image, label, scores in zip(
            grid[0], samples["image"], samples["label"], samples["scores"], strict=True
        ):
            axes.imshow(to_display_rgb(image, bands))
            axes.set_title(classes[label], size=8)
            said = int(scores.argmax())
            ink = "#228833" if said == label else "#cc3311"
            axes.set_xlabel(f"{classes[said]} {100 * scores[said]:.0f} %", size=8, color=ink)
        caption = f"Scenes: true class above, prediction below ({name})"
        drawings.append(ReportFigure(table.name, f"{table.name}_gallery", caption, figure))
    return drawings


def draw_segmentations(records: StudyResults) -> list[ReportFigure]:
    """Test images, their classes, and what each row of the table makes of them."""
    drawings = []
    for table in records.study.tables:
        samples = {
            row.title: arrays
            for row in table.rows
            if "prediction" in (arrays := records.samples(row.cells[0].runs[0]))
        }
        results = next(
            (r for row in table.rows if (r := records.results.get(row.cells[0].runs[0]))), None
        )
        if not samples or results is None:
            continue
        bands, excluded = results["data"]["bands"], results["config"]["objective"]["excluded"]
        colours = {
            name: _NOT_COUNTED if name in excluded else colour
            for name, colour in zip(results["classes"], results["colours"], strict=True)
        }
        schemes = {"image": TRUE_COLOUR, "NIR, red, green": FALSE_COLOUR}
        schemes = {title: s for title, s in schemes.items() if has_display_bands(bands, s)}
        arrays = next(iter(samples.values()))
        maps = {"truth": arrays["mask"]}
        maps |= {title.replace(", ", ",\n", 1): s["prediction"] for title, s in samples.items()}
        figure, grid = _sheet(min(4, len(arrays["image"])), len(schemes) + len(maps), 1.75)
        for line, image, *labels in zip(grid, arrays["image"], *maps.values(), strict=False):
            pictures = [to_display_rgb(image, bands, scheme) for scheme in schemes.values()]
            grey = to_display_rgb(image, bands).mean(axis=-1, keepdims=True)
            pictures += [_over(colour_labels(m, list(colours.values())), grey) for m in labels]
            for axes, picture in zip(line, pictures, strict=True):
                axes.imshow(picture, interpolation="nearest")
        for axes, title in zip(grid[0], [*schemes, *maps], strict=True):
            axes.set_title(title, size=8)
        _legend(figure, colours, excluded)
        caption = f"{table.subject}: maps of the test images"
        drawings.append(ReportFigure(table.name, f"{table.name}_maps", caption, figure))
    return drawings


def _over(colours: np.ndarray, grey: np.ndarray | float) -> np.ndarray:
    """Class colours over the grey image, so that one sees what they lie on."""
    return 0.7 * colours + 0.3 * grey


def _legend(figure: Figure, colours: dict[str, Sequence[int]], excluded: Sequence[str]) -> None:
    handles = [
        Patch(
            facecolor=tuple(_over(np.divide(colour, 255), 0.65)),
            edgecolor="#888888",
            label=f"{name} (not counted)" if name in excluded else name,
        )
        for name, colour in colours.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)


def draw_reconstructions(records: StudyResults) -> list[ReportFigure]:
    """Tiles, what the masked autoencoder sees of them, and what it makes of that."""
    drawings = []
    for name, results in records.with_objective("mae"):
        samples, bands = records.samples(name), results["data"]["bands"]
        if not samples:
            continue
        originals = samples["image"][:_EXAMPLES]
        schemes = {"true colour": TRUE_COLOUR, "false colour: NIR, red, green": FALSE_COLOUR}
        schemes = {title: s for title, s in schemes.items() if has_display_bands(bands, s)}
        figure, grid = _sheet(3 * len(schemes), len(originals))
        for rows, (title, scheme) in zip(
            np.split(grid, len(schemes)), schemes.items(), strict=True
        ):
            rows[0, len(originals) // 2].set_title(title, size=10)
            for axes, text in zip(
                rows[:, 0], ("tile", "what is seen", "reconstruction"), strict=True
            ):
                axes.set_ylabel(text)
            for column, original, masked, filled in zip(
                rows.T, originals, samples["masked"], samples["reconstruction"], strict=False
            ):
                hidden = np.abs(masked - original).max(axis=-1, keepdims=True) > 1e-4
                tile = to_display_rgb(original, bands, scheme)
                column[0].imshow(tile)
                column[1].imshow(np.where(hidden, 0.88, tile))
                column[2].imshow(to_display_rgb(filled, bands, scheme, like=original))
        share = 100 * results["config"]["objective"]["mask_ratio"]
        caption = f"Masked autoencoder: {share:.0f} % of each tile is hidden and filled in"
        file = f"{name.rpartition('/')[2]}_reconstructions"
        drawings.append(ReportFigure("pretraining", file, caption, figure))
    return drawings


def draw_simclr_views(records: StudyResults) -> list[ReportFigure]:
    """Tiles and the two views by which SimCLR is to know them again, with the most bands."""
    found = [
        (name, results)
        for name, results in records.with_objective("simclr")
        if records.samples(name)
    ]
    if not found:
        return []
    name, results = max(found, key=lambda item: len(item[1]["data"]["bands"]))
    samples, bands = records.samples(name), results["data"]["bands"]
    originals = samples["image"][: _EXAMPLES + 1]
    figure, grid = _sheet(3, len(originals))
    titles = {"image": "tile", "view_1": "first view", "view_2": "second view"}
    for row, (key, title) in zip(grid, titles.items(), strict=True):
        row[0].set_ylabel(title)
        for axes, original, picture in zip(row, originals, samples[key], strict=False):
            axes.imshow(to_display_rgb(picture, bands, like=original))
    caption = "SimCLR: two views of a tile that are to recognise each other"
    return [ReportFigure("pretraining", "simclr_views", caption, figure)]


def _sheet(rows: int, columns: int, size: float = 1.5) -> tuple[Figure, np.ndarray]:
    """A sheet of pictures without axes; `size` of one in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(size * columns + 0.3, size * rows + 0.3), layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        _bare(axes)
    return figure, grid


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
