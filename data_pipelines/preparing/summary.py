"""What a prepared dataset holds, for a person: tables and a contact sheet."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from rich.console import Console
from rich.table import Table

from data_pipelines.bands import Sensor
from data_pipelines.files.display import (
    FALSE_COLOUR,
    TRUE_COLOUR,
    colour_labels,
    has_display_bands,
    to_display_rgb,
)
from data_pipelines.files.writing import replace_when_written
from data_pipelines.preparing.encoding import Moments
from data_pipelines.preparing.prepare import Splits, unique_readings
from data_pipelines.sources.dataset import ALL, Dataset
from data_pipelines.sources.subset import select_subset

__all__ = [
    "CONTACT_SHEET",
    "contact_sheet",
    "print_bands",
    "print_found",
    "print_splits",
    "written_moments",
]

CONTACT_SHEET = "contact_sheet.png"

_EXAMPLES = 24
_COLUMNS = 8
# Pixels: of a picture's side, from one to the next, and of the line above it.
_SIDE, _STEP, _CAPTION = 120, 124, 13
_TITLE = 20  # characters that have room there


def print_splits(dataset: Dataset, expected: Mapping[str, int | None]) -> None:
    """Splits, examples, bytes, and how many examples there should have been."""
    told = any(expected.values())
    headers = ["split", "examples", *(["expected"] if told else []), "bytes"]
    table = Table(*headers)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, split in dataset.info.splits.items():
        number = expected.get(name)
        blocks = [f"{number:,}" if number is not None else ""] if told else []
        table.add_row(name, f"{split.num_examples:,}", *blocks, f"{split.num_bytes:,}")
    Console().print(table)
    for name, number in expected.items():
        there = dataset.splits.get(name, 0)
        if number is not None and there < number:
            print(f"note: split {name} has {there:,} of the {number:,} examples expected")
    if dataset.grid:
        window = dataset.grid.window * dataset.grid.block
        counts = ", ".join(f"{s} {len(select_subset(dataset, s)):,}" for s in dataset.info.splits)
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
    source = select_subset(dataset, ALL).examples
    chosen = np.unique(np.linspace(0, len(source) - 1, min(_EXAMPLES, len(source))).astype(int))
    bands = dataset.sensor.names
    kinds = [
        colours for colours in (TRUE_COLOUR, FALSE_COLOUR) if has_display_bands(bands, colours)
    ]
    kinds = kinds or [(bands[0],) * 3]
    height = len(kinds) + (dataset.target == "mask")
    columns = min(_COLUMNS, len(chosen))
    size = (columns * _STEP, -(-len(chosen) // columns) * (height * _STEP + _CAPTION))
    sheet = PIL.Image.new("RGB", size, "white")
    draw, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(_CAPTION - 3)
    for place, position in enumerate(chosen):
        example = source[int(position)]
        row, column = divmod(place, columns)
        left, top = column * _STEP, row * (height * _STEP + _CAPTION)
        draw.text((left, top), _title(dataset, example)[:_TITLE], "black", font)
        pictures = [to_display_rgb(example["image"] * 1.0, bands, kind) for kind in kinds]
        if dataset.target == "mask":
            pictures.append(colour_labels(example["mask"], dataset.colours))
        for offset, picture in enumerate(pictures):
            tile = PIL.Image.fromarray((picture * 255).astype(np.uint8)).resize((_SIDE, _SIDE))
            sheet.paste(tile, (left, top + _CAPTION + offset * _STEP))
    with replace_when_written(file) as beside:
        sheet.save(beside, format="png")


def _title(dataset: Dataset, example: Mapping[str, np.ndarray]) -> str:
    if dataset.target == "label":
        return dataset.classes[int(example["label"])]
    if dataset.target == "labels":
        return ", ".join(dataset.classes[i] for i in np.flatnonzero(example["labels"]))
    return ""


def print_found(splits: Splits) -> None:
    """What a dry run says, and a build before it begins; nothing for splits of generators."""
    for reading in unique_readings(splits):
        for what, details in reading.found:
            print(f"{what}: {details}")
        for split, expected in reading.expected.items():
            print(f"split {split}: {'unknown' if expected is None else f'{expected:,}'} examples")


def written_moments(folder: Path) -> dict[str, Moments]:
    """The moments of each split, as they were written when the dataset was prepared."""
    file = folder / "statistics.json"
    if not file.is_file():
        return {}
    return {
        split: Moments.from_statistics(s["pixels"], np.array(s["mean"]), np.array(s["std"]))
        for split, s in json.loads(file.read_text()).items()
    }
