"""Results of `estimate` and `compare` as JSON and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.writing import replace_non_finite, write_json, write_text
from ssl_jax.estimation.assessment import Assessment, ClassAssessment
from ssl_jax.estimation.comparing import Difference, Transitions
from ssl_jax.estimation.estimating import MapAssessment
from ssl_jax.estimation.estimators import Estimate, Interval

__all__ = ["describe_assessment", "make_folder", "write_assessment", "write_comparison"]

_ESTIMATES = ("area", "users_accuracy", "producers_accuracy")
_PARTS = ("estimate", "standard_error", "lower", "upper")


def write_assessment(
    folder: Path, result: MapAssessment, interval: Interval, page: str
) -> Mapping[str, Path]:
    """Write `estimate.json`, `estimate.csv` and `areas.html`.

    Args:
        folder: Folder to write to.
        result: The assessment.
        interval: How intervals were made.
        page: The HTML page.

    Returns:
        The paths of the files by suffix.

    Raises:
        UserError: If they can't be written.
    """
    unit = result.class_map.unit
    header = ["region", "class", "labels", "mapped_pixels", f"mapped_{unit}"]
    for name in _ESTIMATES:
        start = f"area_{unit}" if name == "area" else name
        header += [f"{start}_{part}" for part in _PARTS]
    rows: list[list[Any]] = []
    for part in (result.whole, *result.regions):
        for row in part.classes:
            numbers = [*row.area, *row.users, *row.producers]
            cells = [part.name, row.name, row.places, row.mapped_pixels, _cell(row.mapped_area)]
            rows.append([*cells, *map(_cell, numbers)])
    paths = {
        "json": folder / "estimate.json",
        "csv": folder / "estimate.csv",
        "html": folder / "areas.html",
    }
    content = describe_assessment(result, interval)
    _write(folder, paths["json"], content, paths["csv"], [header, *rows])
    try:
        write_text(paths["html"], page)
    except OSError as error:
        raise UserError(f"folder {folder}: can't be written ({error.strerror})") from error
    return paths


def describe_assessment(result: MapAssessment, interval: Interval) -> dict[str, Any]:
    """Return an assessment as JSON types."""
    return {
        "map": result.class_map.path.name,
        "unit": result.class_map.unit,
        "confidence": interval.confidence,
        "interval": interval.method,
        "unlabelled": result.unlabelled,
        "outside_regions": result.outside,
        **_describe(result.whole),
        "regions": [{"name": part.name, **_describe(part)} for part in result.regions],
    }


def write_comparison(
    folder: Path, transitions: Transitions, difference: Difference | None, interval: Interval
) -> None:
    """Write `transitions.csv` and `comparison.json`.

    Args:
        folder: Folder to write to.
        transitions: What changes.
        difference: Which map is better; None without labels.
        interval: How intervals were made.

    Raises:
        UserError: If they can't be written.
    """
    content: dict[str, Any] = {
        "unit": transitions.unit,
        "changed": transitions.changed,
        "transitions": [row._asdict() for row in transitions.rows],
    }
    if difference is not None:
        first, second = difference.accuracies
        content["accuracy"] = {
            "labels": difference.places,
            "only_first_right": difference.only[0],
            "only_second_right": difference.only[1],
            "first": _describe_estimate(first),
            "second": _describe_estimate(second),
            "second_minus_first": _describe_estimate(difference.gain),
            "confidence": interval.confidence,
            "interval": interval.method,
            "verdict": difference.verdict,
        }
    table = [["from", "to", "value", "pixels", transitions.unit]]
    table += [[*row[:2], *map(str, row[2:4]), _cell(row.area)] for row in transitions.rows]
    _write(folder, folder / "comparison.json", content, folder / "transitions.csv", table)


def make_folder(folder: Path) -> Path:
    """Make a folder for results, and return it.

    Raises:
        UserError: If it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"folder {folder}: can't be made ({error.strerror})") from error
    return folder


def _write(
    folder: Path, json_path: Path, content: Any, csv_path: Path, table: Sequence[Sequence[Any]]
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(json_path, replace_non_finite(content))
        write_text(csv_path, text.getvalue())
    except OSError as error:
        raise UserError(f"folder {folder}: can't be written ({error.strerror})") from error


def _describe(part: Assessment) -> dict[str, Any]:
    return {
        "total_area": part.total,
        "labels": int(part.counts.sum()),
        "overall_accuracy": _describe_estimate(part.overall),
        "classes": [_describe_class(row) for row in part.classes],
        "error_matrix": {
            "rows": "map",
            "columns": "reference",
            "classes": [row.name for row in part.classes],
            "counts": part.counts.tolist(),
            "area_shares": part.shares.tolist(),
        },
        "notes": list(part.notes),
    }


def _describe_class(row: ClassAssessment) -> dict[str, Any]:
    return {
        "name": row.name,
        "labels": row.places,
        "mapped_pixels": row.mapped_pixels,
        "mapped_area": row.mapped_area,
        "area": _describe_estimate(row.area),
        "users_accuracy": _describe_estimate(row.users),
        "producers_accuracy": _describe_estimate(row.producers),
    }


def _describe_estimate(estimate: Estimate) -> dict[str, float]:
    return dict(zip(_PARTS, map(float, estimate), strict=True))


def _cell(number: float | np.ndarray) -> str:
    return f"{float(number):.6g}" if np.isfinite(number) else ""
