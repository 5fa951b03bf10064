"""Summaries of a dataset for the user: tables and a contact sheet."""

import dataclasses
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
from data_pipelines.preparing.prepare import Splits, collect_readings
from data_pipelines.sources.dataset import ALL, Dataset
from data_pipelines.sources.subset import select_subset

__all__ = [
    "CONTACT_SHEET",
    "load_moments",
    "print_bands",
    "print_classes",
    "print_input_summary",
    "print_splits",
    "write_contact_sheet",
]

CONTACT_SHEET = "contact_sheet.png"

# Layout of the contact sheet: numbers of examples and columns, then in pixels the side of an image,
# the distance between two images and the height of the caption, and the caption's length limit.
_NUM_EXAMPLES = 24
_NUM_COLUMNS = 8
_SIDE, _STEP, _CAPTION = 120, 124, 13
_MAX_TITLE_LENGTH = 20


def print_splits(dataset: Dataset, expected: Mapping[str, int | None]) -> None:
    """Print the number of examples and bytes of each split, and the number of windows.

    Args:
        dataset: The prepared dataset.
        expected: {split: expected number of examples}; None if it is unknown.
    """
    show_expected = any(expected.values())
    headers = ["split", "examples", *(["expected"] if show_expected else []), "bytes"]
    table = Table(*headers)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, split in dataset.info.splits.items():
        number = expected.get(name)
        cells = [f"{number:,}" if number is not None else ""] if show_expected else []
        table.add_row(name, f"{split.num_examples:,}", *cells, f"{split.num_bytes:,}")
    Console().print(table)
    for name, number in expected.items():
        count = dataset.splits.get(name, 0)
        if number is not None and count < number:
            print(f"note: split {name} has {count:,} of the {number:,} expected examples")
    if dataset.grid:
        window = dataset.grid.window * dataset.grid.block
        counts = ", ".join(f"{s} {len(select_subset(dataset, s)):,}" for s in dataset.info.splits)
        print(f"windows of {window} × {window} pixels: {counts}")


def print_bands(dataset: Dataset, moments: Mapping[str, Moments], published: Sensor | None) -> None:
    """Print the mean and standard deviation of each band, beside the published ones.

    Args:
        dataset: The prepared dataset.
        moments: {split: moments of its images}.
        published: The sensor with its published statistics; None if the builder has no sensor.
    """
    measured = sum((m for m in moments.values() if m.pixels), Moments())
    if not measured.pixels:
        return
    show_published = published is not None and published.measured
    published_header = ["published"] if show_published else []
    table = Table("band", "mean", *published_header, "std", *published_header)
    for column in table.columns[1:]:
        column.justify = "right"
    for index, band in enumerate(dataset.sensor.bands):
        row = [band.name]
        for value, name in ((measured.mean[index], "mean"), (measured.std[index], "std")):
            row.append(f"{value:,.2f}")
            if show_published and published is not None:
                row.append(f"{getattr(published.bands[index], name):,.2f}")
        table.add_row(*row)
    Console().print(table)


def print_classes(dataset: Dataset) -> None:
    """Print the examples, or pixels, of each class and of none, and a line for each rare case.

    These are classes that occur nowhere, and those that occur, but not in the split `train`.

    Args:
        dataset: The prepared dataset.
    """
    found = {split: _count_classes(dataset, split) for split in dataset.info.splits}
    counts = {split: values for split, values in found.items() if values is not None}
    if not counts:
        return
    unit = "pixels" if dataset.target == "mask" else "examples"
    table = Table(unit, *counts)
    for column in table.columns[1:]:
        column.justify = "right"
    names = [*dataset.classes, *(["of no class"] if dataset.target == "mask" else [])]
    for index, name in enumerate(names):
        table.add_row(
            name, *(_format_share(split[index], split.sum()) for split in counts.values())
        )
    Console().print(table)
    for index, name in enumerate(dataset.classes):
        splits = [split for split, values in counts.items() if values[index]]
        if not splits:
            print(f"warning: class {name} has no {unit[:-1]} in any split")
        elif "train" in counts and "train" not in splits:
            print(
                f"warning: class {name} has no {unit[:-1]} in train, only in {', '.join(splits)}: "
                "no network can learn it"
            )


def _count_classes(dataset: Dataset, split: str) -> np.ndarray | None:
    """Count the examples, or stored pixels, of each class, or return None if that is unknown."""
    # Without windows, which overlap, each stored pixel counts once.
    records = dataclasses.replace(dataset, grid=None)
    return select_subset(records, split).count_classes() if dataset.classes else None


def _format_share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})" if total else f"{count:,}"


def write_contact_sheet(dataset: Dataset, file: Path) -> None:
    """Write an image of examples in true and false colour, with their labels or masks.

    The file is written atomically.

    Args:
        dataset: The prepared dataset.
        file: The PNG file to write.
    """
    source = select_subset(dataset, ALL).examples
    num_examples = min(_NUM_EXAMPLES, len(source))
    indices = np.unique(np.linspace(0, len(source) - 1, num_examples).astype(int))
    bands = dataset.sensor.names
    schemes = [
        colours for colours in (TRUE_COLOUR, FALSE_COLOUR) if has_display_bands(bands, colours)
    ]
    schemes = schemes or [(bands[0],) * 3]
    row_height = (len(schemes) + (dataset.target == "mask")) * _STEP + _CAPTION
    columns = min(_NUM_COLUMNS, len(indices))
    size = (columns * _STEP, -(-len(indices) // columns) * row_height)
    sheet = PIL.Image.new("RGB", size, "white")
    draw, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(_CAPTION - 3)
    for cell, index in enumerate(indices):
        example = source[int(index)]
        row, column = divmod(cell, columns)
        left, top = column * _STEP, row * row_height
        draw.text((left, top), _format_title(dataset, example)[:_MAX_TITLE_LENGTH], "black", font)
        images = [to_display_rgb(example["image"] * 1.0, bands, scheme) for scheme in schemes]
        if dataset.target == "mask":
            images.append(colour_labels(example["mask"], dataset.colours))
        for offset, image in enumerate(images):
            tile = PIL.Image.fromarray((image * 255).astype(np.uint8)).resize((_SIDE, _SIDE))
            sheet.paste(tile, (left, top + _CAPTION + offset * _STEP))
    with replace_when_written(file) as temporary:
        sheet.save(temporary, format="png")


def _format_title(dataset: Dataset, example: Mapping[str, np.ndarray]) -> str:
    if dataset.target == "label":
        return dataset.classes[int(example["label"])]
    if dataset.target == "labels":
        return ", ".join(dataset.classes[i] for i in np.flatnonzero(example["labels"]))
    return ""


def print_input_summary(splits: Splits) -> None:
    """Print what the files contain and the expected number of examples, before they are read.

    Splits of generators print nothing.
    """
    for reading in collect_readings(splits):
        for subject, details in reading.found:
            print(f"{subject}: {details}")
        for split, expected in reading.expected.items():
            print(f"split {split}: {'unknown' if expected is None else f'{expected:,}'} examples")


def load_moments(folder: Path) -> dict[str, Moments]:
    """Load the moments of each split that were saved when the dataset was prepared.

    Args:
        folder: Folder of the dataset.

    Returns:
        {split: moments of its images}; empty if there is no `statistics.json`.
    """
    file = folder / "statistics.json"
    if not file.is_file():
        return {}
    return {
        split: Moments.from_statistics(s["pixels"], np.array(s["mean"]), np.array(s["std"]))
        for split, s in json.loads(file.read_text()).items()
    }
