"""What a prepared dataset holds, for a person: tables and a contact sheet."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from data_pipelines.bands import Sensor
from data_pipelines.encoding import Moments
from data_pipelines.pictures import FALSE_COLOUR, TRUE_COLOUR, can_show, class_map, shown
from data_pipelines.source import ALL, Dataset

__all__ = ["CONTACT_SHEET", "contact_sheet", "print_bands", "print_splits"]

CONTACT_SHEET = "contact_sheet.png"

_COLUMNS = 8
_EXAMPLES = 24
_TITLE = 24  # characters over a picture


def print_splits(dataset: Dataset, expected: Mapping[str, int | None]) -> None:
    """Splits, examples, bytes, and how many examples there should have been."""
    told = any(expected.values())
    headers = ["split", "examples", *(["expected"] if told else []), "bytes"]
    table = Table(*headers)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, split in dataset.info.splits.items():
        number = expected.get(name)
        cells = [f"{number:,}" if number is not None else ""] if told else []
        table.add_row(name, f"{split.num_examples:,}", *cells, f"{split.num_bytes:,}")
    Console().print(table)
    if dataset.grid:
        window = dataset.grid.window * dataset.grid.cell
        counts = ", ".join(f"{s} {len(dataset.source(s)):,}" for s in dataset.info.splits)
        print(f"windows of {window} × {window} pixels over these cells: {counts}")


def print_bands(dataset: Dataset, moments: Mapping[str, Moments], published: Sensor | None) -> None:
    """Mean and deviation of each band's digital numbers, beside those published of the sensor."""
    measured = sum((m for m in moments.values() if m.pixels), Moments())
    if not measured.pixels:
        return
    known = published is not None and published.measured
    table = Table("band", "mean", *(["published"] if known else []),
                  "std", *(["published"] if known else []))  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for index, band in enumerate(dataset.sensor.bands):
        row = [band.name]
        for value, name in ((measured.mean[index], "mean"), (measured.std[index], "std")):
            row.append(f"{value:,.2f}")
            if known and published is not None:
                row.append(f"{getattr(published.bands[index], name):,.2f}")
        table.add_row(*row)
    Console().print(table)


def contact_sheet(dataset: Dataset, file: Path) -> None:
    """Examples of the dataset in true and false colour, with their labels or masks.

    Written beside and then renamed.
    """
    source = dataset.source(ALL)
    chosen = np.unique(np.linspace(0, len(source) - 1, min(_EXAMPLES, len(source))).astype(int))
    bands = dataset.sensor.names
    kinds = [colours for colours in (TRUE_COLOUR, FALSE_COLOUR) if can_show(bands, colours)]
    rows_of = [*(kinds or [TRUE_COLOUR]), *(["mask"] if dataset.target == "mask" else [])]
    blocks = -(-len(chosen) // _COLUMNS)
    rows = blocks * len(rows_of)
    figure = Figure(figsize=(_COLUMNS * 1.5, rows * 1.62 + 0.3), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for place, position in enumerate(chosen):
        example = source[int(position)]
        block, column = divmod(place, _COLUMNS)
        for offset, kind in enumerate(rows_of):
            axes = grid[block * len(rows_of) + offset, column]
            if kind == "mask":
                axes.imshow(class_map(example["mask"], dataset.colours), interpolation="nearest")
            else:
                axes.imshow(shown(example["image"] * 1.0, bands, kind))
            if offset == 0:
                axes.set_title(_title(dataset, example), size=6)
    figure.suptitle(f"{dataset.name}: {' and '.join(_words(kind) for kind in rows_of)}", size=9)
    beside = file.with_name(f".{file.name}")
    figure.savefig(beside, dpi=110, format="png")
    beside.replace(file)


def _title(dataset: Dataset, example: Mapping[str, np.ndarray]) -> str:
    if dataset.target == "label":
        return dataset.classes[int(example["label"])][:_TITLE]
    if dataset.target == "labels":
        names = [dataset.classes[i] for i in np.flatnonzero(example["labels"])]
        return "\n".join(name[:_TITLE] for name in names[:2]) + (" …" if len(names) > 2 else "")
    return ""


def _words(kind: object) -> str:
    return {TRUE_COLOUR: "true colour", FALSE_COLOUR: "near infrared, red, green"}.get(
        kind,
        "mask",  # type: ignore[call-overload]
    )
