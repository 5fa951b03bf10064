"""The report's figures: each maker draws from the records what they allow."""

import io
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from ssl_jax.plan import Row, Table
from ssl_jax.reporting import tables
from ssl_jax.reporting.page import Picture
from ssl_jax.reporting.pictures import FALSE_COLOUR, TRUE_COLOUR, can_show, class_map, shown
from ssl_jax.reporting.records import Records

__all__ = ["draw"]

# Of Paul Tol's "bright" scheme, which all eyes can tell apart.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
_GREYS = ("#8c8c8c", "#b0b0b0", "#cfcfcf")
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.bbox": "tight",
}
_EXAMPLES = 5

# The section of the report, a name for the file, what it shows, and the drawing.
Drawing = tuple[str, str, str, Figure]


def draw(records: Records) -> list[Picture]:
    """All figures that the records allow, in the order of the report."""
    with mpl.rc_context(_STYLE):
        return [
            Picture(section, name, caption, _png(figure))
            for make in MAKERS
            for section, name, caption, figure in make(records)
        ]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def _accuracy_bars(records: Records) -> list[Drawing]:
    """Table 1 as bars, the paper's figures as marks."""
    pictures = []
    for table in records.study.tables:
        values = [[tables.figure(records, cell) for cell in row.cells] for row in table.rows]
        if not any(value for row in values for value in row):
            continue
        figure = Figure(figsize=(2.4 + 2.6 * len(table.columns), 0.9 + 0.42 * len(table.rows)))
        panels = figure.subplots(1, len(table.columns), sharey=True, squeeze=False)[0]
        places = np.arange(len(table.rows))[::-1]
        colours = _row_colours(table)
        for column, axes in enumerate(panels):
            for place, row, value in zip(places, table.rows, values, strict=True):
                if value[column] is None:
                    axes.text(1, place, "not done yet", va="center", color="#999999", size=8)
                    continue
                mean, std = value[column].mean, np.nan_to_num(value[column].std)
                axes.barh(place, mean, 0.62, color=colours[row.title], xerr=std or None)
                axes.text(max(mean - std, 14) - 2, place, f"{mean:.1f}", va="center", ha="right",
                          size=8, color="#222222" if row.baseline else "white")  # fmt: skip
            paper = [
                (p, r.cells[column].published) for p, r in zip(places, table.rows, strict=True)
            ]
            marks = [(x, p) for p, x in paper if x is not None]
            if marks:
                axes.plot(
                    *zip(*marks, strict=True),
                    "D",
                    color="#222222",
                    mec="white",
                    ms=6,
                    label="paper",
                )
            axes.set(
                xlim=(0, 102), xticks=range(0, 101, 25), title=_heading(table, column), xlabel="%"
            )
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(places, [row.title for row in table.rows])
        if any(cell.published is not None for row in table.rows for cell in row.cells):
            other = ", on other data" if tables.is_other_data(records, table) else ""
            marks, _ = panels[0].get_legend_handles_labels()
            figure.legend(marks, [f"the paper{other}"], loc="lower left")
        figure.tight_layout()
        pictures.append((table.name, f"{table.name}_bars", table.title.rstrip("."), figure))
    return pictures


def _heading(table: Table, column: int) -> str:
    return (
        f"{table.metrics[column]} at {table.columns[column]}"
        if len(set(table.metrics)) == 1
        else table.metrics[column]
    )


def _row_colours(table: Table) -> dict[str, str]:
    """Colours for what was pretrained, greys for the baselines."""
    learned = [row.title for row in table.rows if not row.baseline]
    baselines = [row.title for row in table.rows if row.baseline]
    return dict(zip(learned, _COLOURS, strict=False)) | dict(zip(baselines, _GREYS, strict=False))


def _pretraining_curves(records: Records) -> list[Drawing]:
    """Losses of what other runs start from, a panel for each objective."""
    needed = dict.fromkeys(name for run in records.study.runs for name in run.needs)
    words = {
        "simclr": "SimCLR: NT-Xent, both views",
        "mae": "MAE: error on hidden patches",
        "classification": "Supervised: cross-entropy",
    }
    panels: dict[str, list[str]] = {}
    for name in needed:
        if name in records.results:
            panels.setdefault(records.results[name]["objective"], []).append(name)
    if not panels:
        return []
    figure = Figure(figsize=(3.6 * len(panels), 2.8))
    for axes, (objective, names) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, colour in zip(names, _COLOURS, strict=False):
            _curve(axes, *records.losses(name), colour, name.rpartition("/")[2])
        axes.set(title=words.get(objective, objective), xlabel="step", ylabel="loss")
        axes.legend(fontsize=8)
    figure.tight_layout()
    return [("pretraining", "pretraining_curves", "Pretraining: the loss falls", figure)]


def _curve(axes: Axes, steps: np.ndarray, losses: np.ndarray, colour: str, label: str) -> None:
    """A loss as it was logged, pale, and its running mean."""
    width = max(1, len(losses) // 20)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(steps, losses, color=colour, alpha=0.25, lw=0.8)
    axes.plot(steps[width - 1 :], smooth, color=colour, lw=1.6, label=label)


def _transfer_curves(records: Records) -> list[Drawing]:
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
    return [("transfer", "transfer_curves", "Transfer: the training loss", figure)]


def _differs(table: Table) -> bool:
    """Whether the table's columns stand for different runs."""
    return len({cell.runs for cell in table.rows[0].cells}) > 1


def _confusion_matrices(records: Records) -> list[Drawing]:
    """What is taken for what, for each row in the table's first column."""
    pictures = []
    for table in records.study.tables:
        rows = [
            (row, records.results[row.cells[0].runs[0]])
            for row in table.rows
            if "confusion" in records.results.get(row.cells[0].runs[0], {})
        ]
        if not rows:
            continue
        across = min(4, len(rows))
        down = -(-len(rows) // across)
        figure = Figure(figsize=(2.6 * across + 1.7, 2.45 * down + 1.2), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for number, (axes, (row, results)) in enumerate(zip(grid, rows, strict=False)):
            counts = np.asarray(results["confusion"], float)
            shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
            axes.set_title(row.title, size=8)
            names = _counted_classes(results)
            lowest = number // across == down - 1
            axes.set_xticks(range(len(names)), names if lowest else [], rotation=90, size=7)
            axes.set_yticks(range(len(names)), names if number % across == 0 else [], size=7)
            axes.grid(visible=False)
            for (true, predicted), share in np.ndenumerate(shares):
                if share >= 0.5:
                    axes.text(predicted, true, f"{share:.0f}", ha="center", va="center", size=6,
                              color="white" if share > 55 else "#333333")  # fmt: skip
        for axes in grid[len(rows) :]:
            axes.set_visible(False)
        figure.colorbar(image, ax=grid, shrink=0.6, label="% of the true class (row)", pad=0.01)
        at = f" at {table.columns[0]}" if _differs(table) else ""
        title = f"{table.subject}{at}: true classes by row, predicted by column"
        pictures.append((table.name, f"{table.name}_confusion", title, figure))
    return pictures


def _counted_classes(results: dict) -> list[str]:
    excluded = results["config"]["objective"].get("excluded", ())
    return [name for name in results["classes"] if name not in excluded]


def _reconstructions(records: Records) -> list[Drawing]:
    """Tiles, what the masked autoencoder sees of them, and what it makes of that."""
    pictures = []
    for name, results in records.of("mae"):
        samples, bands = records.samples(name), results["data"]["bands"]
        if not samples:
            continue
        schemes = {"true colour": TRUE_COLOUR, "false colour: NIR, red, green": FALSE_COLOUR}
        schemes = {words: colours for words, colours in schemes.items() if can_show(bands, colours)}
        originals = samples["image"][:_EXAMPLES]
        columns = [
            [
                shown(original, bands, colours),
                _hidden_in_grey(samples["masked"][i], original, bands, colours),
                shown(samples["reconstruction"][i], bands, colours, like=original),
            ]
            for colours in schemes.values()
            for i, original in enumerate(originals)
        ]
        count = len(originals)
        figure, grid = _sheet(3 * len(schemes), count)
        for number, column in enumerate(columns):
            scheme, example = divmod(number, count)
            for row, image in enumerate(column):
                grid[3 * scheme + row, example].imshow(image)
        for scheme, words in enumerate(schemes):
            for row, part in enumerate(("tile", "what is seen", "reconstruction")):
                _label_row(grid[3 * scheme + row, 0], part)
            grid[3 * scheme, count // 2].set_title(words, size=10)
        ratio = results["config"]["objective"]["mask_ratio"]
        title = f"Masked autoencoder: {100 * ratio:.0f} % of each tile is hidden and filled in"
        pictures.append(
            ("pretraining", f"{name.rpartition('/')[2]}_reconstructions", title, figure)
        )
    return pictures


def _hidden_in_grey(
    masked: np.ndarray, original: np.ndarray, bands: Sequence[str], colours: Sequence[str]
) -> np.ndarray:
    hidden = np.abs(masked - original).max(axis=-1) > 1e-4
    return np.where(hidden[..., None], 0.88, shown(original, bands, colours))


def _views(records: Records) -> list[Drawing]:
    """Tiles and the two views by which SimCLR is to know them again."""
    found = [(name, results) for name, results in records.of("simclr") if records.samples(name)]
    if not found:
        return []
    name, results = max(found, key=lambda item: len(item[1]["data"]["bands"]))
    samples, bands = records.samples(name), results["data"]["bands"]
    originals = samples["image"][: _EXAMPLES + 1]
    figure, grid = _sheet(3, len(originals))
    for row, key in enumerate(("image", "view_1", "view_2")):
        _label_row(grid[row, 0], ("tile", "first view", "second view")[row])
        for column, original in enumerate(originals):
            grid[row, column].imshow(shown(samples[key][column], bands, like=original))
    return [
        (
            "pretraining",
            "simclr_views",
            "SimCLR: two views of a tile that are to recognise each other",
            figure,
        )
    ]


def _scene_gallery(records: Records) -> list[Drawing]:
    """Scenes with the answers of the best row."""
    pictures = []
    for table in records.study.tables:
        found = [
            (value.mean, row.cells[-1].runs[0])
            for row in table.rows
            if (value := tables.figure(records, row.cells[-1])) is not None
        ]
        name = max(found)[1] if found else ""
        samples = records.samples(name) if name else {}
        if "label" not in samples:
            continue
        results = records.results[name]
        classes, bands = results["classes"], results["data"]["bands"]
        figure, grid = _sheet(1, len(samples["image"]), 1.45)
        for axes, image, label, scores in zip(
            grid[0], samples["image"], samples["label"], samples["scores"], strict=True
        ):
            axes.imshow(shown(image, bands))
            said = int(scores.argmax())
            axes.set_title(classes[label], size=8)
            axes.set_xlabel(
                f"{classes[said]} {100 * scores[said]:.0f} %",
                size=8,
                color="#228833" if said == label else "#cc3311",
            )
        title = f"Scenes: true class above, prediction below ({name})"
        pictures.append((table.name, f"{table.name}_gallery", title, figure))
    return pictures


def _segmentations(records: Records) -> list[Drawing]:
    """Aerial images, their classes, and what each row of the table makes of them."""
    pictures = []
    for table in records.study.tables:
        rows = [(row, row.cells[0].runs[0]) for row in table.rows]
        rows = [
            (row, records.results[name], samples)
            for row, name in rows
            if name in records.results and "prediction" in (samples := records.samples(name))
        ]
        if not rows:
            continue
        _, results, samples = rows[0]
        classes, colours, bands = results["classes"], results["colours"], results["data"]["bands"]
        excluded = results["config"]["objective"].get("excluded", ())
        counted = [
            c if n not in excluded else (70, 70, 70) for n, c in zip(classes, colours, strict=True)
        ]
        infrared = can_show(bands, FALSE_COLOUR)
        headings = ["image", *(["NIR, red, green"] if infrared else []), "truth"]
        headings += [_wrapped(row) for row, *_ in rows]
        figure, grid = _sheet(min(4, len(samples["image"])), len(headings), 1.75)
        for example, line in enumerate(grid):
            image = samples["image"][example]
            shades = [shown(image, bands)]
            shades += [shown(image, bands, FALSE_COLOUR)] if infrared else []
            maps = [samples["mask"], *(s["prediction"] for *_, s in rows)]
            for axes, picture in zip(
                line,
                shades + [_over(class_map(m[example], counted), shades[0]) for m in maps],
                strict=True,
            ):
                axes.imshow(picture, interpolation="nearest")
        for axes, heading in zip(grid[0], headings, strict=True):
            axes.set_title(heading, size=8)
        figure.legend(
            handles=[
                Patch(
                    facecolor=0.7 * np.divide(colour, 255) + 0.2, edgecolor="#888888", label=label
                )
                for label, colour in [
                    *((n, c) for n, c in zip(classes, counted, strict=True) if n not in excluded),
                    *((", ".join(excluded) + " (not counted)", (70, 70, 70)) for _ in excluded[:1]),
                ]
            ],
            loc="outside lower center",
            ncols=len(classes),
            fontsize=8,
        )
        pictures.append(
            (table.name, f"{table.name}_maps", f"{table.subject}: maps of the test images", figure)
        )
    return pictures


def _over(colours: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Class colours (H, W, 3) over the grey image, so that one sees what they lie on."""
    return 0.7 * colours + 0.3 * image.mean(axis=-1, keepdims=True)


def _wrapped(row: Row) -> str:
    return row.title.replace(", ", ",\n", 1)


def _sheet(rows: int, columns: int, size: float = 1.5) -> tuple[Figure, np.ndarray]:
    """A sheet of pictures without axes; `size` of one in inches."""
    figure = Figure(figsize=(size * columns + 0.3, size * rows + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure, grid


def _label_row(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, size=9)


MAKERS: tuple[Callable[[Records], list[Drawing]], ...] = (
    _accuracy_bars,
    _scene_gallery,
    _segmentations,
    _reconstructions,
    _views,
    _pretraining_curves,
    _transfer_curves,
    _confusion_matrices,
)
