"""Labelled places: their references, the strata they stand for, and what a map says of them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.estimation.classified import NO_CLASS, ClassMap, find_pixels, read_classes
from ssl_jax.estimation.files.geopackage import read_table
from ssl_jax.estimation.files.sample import Sample

__all__ = ["Labels", "parse_accuracies", "parse_classes", "read_labels", "read_mapped"]


@dataclass(frozen=True)
class Labels:
    """Labelled places.

    Attributes:
        references: (n,) class values of the references.
        rows: (n,) rows of the map.
        columns: (n,) columns.
        strata: (n,) indices of the sample's strata; -1 without a sample.
        unlabelled: Number of places of the file without a reference, which are left out.
    """

    references: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    strata: np.ndarray
    unlabelled: int


def parse_classes(text: str) -> dict[int, str]:
    """Parse names of classes.

    Args:
        text: Names of the values 0, 1, … in order, or VALUE=NAME, separated by commas.

    Raises:
        UserError: If a value isn't a whole number.
    """
    names: dict[int, str] = {}
    for position, part in enumerate(filter(None, (part.strip() for part in text.split(",")))):
        value, separator, name = part.rpartition("=")
        try:
            names[int(value) if separator else position] = name.strip()
        except ValueError as error:
            raise UserError(
                f"--classes: {part!r} begins with {value!r}; expected a whole number, such as "
                "3=forest"
            ) from error
    if len({name.casefold() for name in names.values()}) < len(names):
        raise UserError(f"--classes: {text!r} has a name twice; expected a name for each class")
    return names


def parse_accuracies(text: str, names: Mapping[int, str]) -> dict[int, float]:
    """Parse accuracies of classes.

    Args:
        text: CLASS=ACCURACY separated by commas, where a class is a name or a value.
        names: Names of the classes by value.

    Raises:
        UserError: If an accuracy isn't a share.
    """
    values = {name.casefold(): value for value, name in names.items()}
    accuracies = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.rpartition("=")
        name = name.strip()
        try:
            accuracy = float(number)
            value = values[name.casefold()] if name.casefold() in values else int(name)
        except ValueError:
            accuracy = -1.0
        if not 0 <= accuracy <= 1:
            raise UserError(
                f"--accuracies: found {part!r}; expected a class and its user's accuracy from 0 to "
                "1, such as water=0.95"
            )
        accuracies[value] = accuracy
    return accuracies


def read_labels(path: Path, class_map: ClassMap, sample: Sample | None) -> Labels:
    """Read labelled places.

    Args:
        path: A CSV or GeoPackage file with columns `reference`, a class's name or value, and `id`
            of a sample, or without a sample `x` and `y` in the map's coordinates.
        class_map: The map, whose names of classes are known.
        sample: The sample that the places are of; None if there is no file of strata.

    Raises:
        UserError: If a column is missing, a place isn't of the sample, is double or lies outside
            the map, or no place is labelled.
    """
    table = _read(path)
    key = ["id"] if sample else ["x", "y"]
    for name in [*key, "reference"]:
        if not table or name not in table[0]:
            found = ", ".join(table[0]) if table else "no rows"
            raise UserError(
                f"labels {path}: has no column {name!r} ({found}); expected "
                f"{', '.join([*key, 'reference'])}"
            )
    labelled = [row for row in table if row["reference"].strip()]
    if not labelled:
        raise UserError(f"labels {path}: no place has a reference; expected classes in that column")
    references = np.array([row["reference"] for row in labelled])
    if sample:
        known = {name: index for index, name in enumerate(sample.places.ids)}
        names = [row["id"].strip() for row in labelled]
        # Spreadsheets take ids for numbers and drop their zeros.
        names = [name if name in known else name.zfill(len(sample.places.ids[0])) for name in names]
        for name in names:
            if name not in known:
                raise UserError(
                    f"labels {path}: place {name} isn't in the sample of {sample.file}; expected "
                    "the labels of that sample: give its file by --strata"
                )
        index = np.array([known[name] for name in names])
        _refuse_double(path, names)
        places = sample.places
        rows, columns, strata = places.rows[index], places.columns[index], places.strata[index]
    else:
        x, y = (_to_numbers(path, labelled, name) for name in key)
        rows, columns = find_pixels(class_map, x, y)
        strata = np.full(len(rows), -1)
        _refuse_double(path, [f"{r}, {c}" for r, c in zip(rows, columns, strict=True)])
        _check_inside(path, class_map, labelled, rows, columns)
    values = np.array([_find_value(path, class_map, text) for text in references])
    return Labels(values, rows, columns, strata, len(table) - len(labelled))


def read_mapped(path: Path, class_map: ClassMap, labels: Labels) -> np.ndarray:
    """Read the classes of a map at labelled places.

    Args:
        path: The labels, for messages.
        class_map: The map.
        labels: The places.

    Raises:
        UserError: If a place has no data in the map.
    """
    mapped = read_classes(class_map, labels.rows, labels.columns)
    if len(without := np.flatnonzero(mapped == NO_CLASS)):
        first = without[0]
        raise UserError(
            f"labels {path}: {len(without)} places have no data in {class_map.path}, the first at "
            f"row {labels.rows[first]}, column {labels.columns[first]}; expected places on the map"
        )
    return mapped


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"labels {path}: no such file; expected CSV or GeoPackage")
    if path.suffix.casefold() == ".gpkg":
        return read_table(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            delimiter = ";" if head.count(";") > head.count(",") else ","
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            return [{str(key).strip(): str(row[key]) for key in row} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"labels {path}: can't be read as CSV in UTF-8 ({error})") from error


def _refuse_double(path: Path, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"labels {path}: place {name} is there twice; expected one reference")
        seen.add(name)


def _to_numbers(path: Path, table: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
    try:
        return np.array([float(row[name]) for row in table])
    except ValueError as error:
        raise UserError(
            f"labels {path}: column {name} holds other than numbers ({error})"
        ) from error


def _check_inside(
    path: Path,
    class_map: ClassMap,
    table: Sequence[Mapping[str, str]],
    rows: np.ndarray,
    columns: np.ndarray,
) -> None:
    height, width = class_map.size
    outside = np.flatnonzero((rows < 0) | (rows >= height) | (columns < 0) | (columns >= width))
    if len(outside):
        first = table[outside[0]]
        raise UserError(
            f"labels {path}: {len(outside)} places lie outside of {class_map.path}, the first at "
            f"x {first['x']}, y {first['y']}; expected coordinates of the map's system"
        )


def _find_value(path: Path, class_map: ClassMap, text: str) -> int:
    text = text.strip()
    values = {name.casefold(): value for value, name in class_map.names.items()}
    if text.casefold() in values:
        return values[text.casefold()]
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if number in class_map.names:
        return int(number)
    known = ", ".join(f"{value}={name}" for value, name in class_map.names.items())
    raise UserError(
        f"labels {path}: the class {text!r} is unknown; expected one of {known}: "
        "name further ones by --classes"
    )
