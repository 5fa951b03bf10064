"""From a map and labelled places to areas with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.estimation.assessment import Assessment, Design, Domain, Units, assess
from ssl_jax.estimation.classified import Cells, ClassMap, count_cells
from ssl_jax.estimation.estimators import Interval
from ssl_jax.estimation.files.labels import Labels, read_labels, read_mapped
from ssl_jax.estimation.files.sample import check_map, make_strata, read_sample
from ssl_jax.estimation.regions import NO_REGIONS, Regions
from ssl_jax.estimation.sampling import StrataTable

__all__ = [
    "Inputs",
    "MapAssessment",
    "assess_map",
    "check_strata",
    "find_strata",
    "locate_units",
]


@dataclass(frozen=True)
class Inputs:
    """What a map is assessed with.

    Attributes:
        labels: File of labelled places.
        strata: File of the sample's strata; None if there is none, so that the places are a
            stratified sample by the classes of the map, or a simple random one.
        is_other_map: Whether the sample was stratified by another map.
    """

    labels: Path
    strata: Path | None
    is_other_map: bool = False


class MapAssessment(NamedTuple):
    """What is known of a map.

    Attributes:
        class_map: The map, with names of all classes.
        whole: The assessment of what was sampled.
        regions: Assessments of regions.
        unlabelled: Number of places without reference, which are left out.
        outside: Number of places outside of what is assessed, which are left out.
    """

    class_map: ClassMap
    whole: Assessment
    regions: tuple[Assessment, ...]
    unlabelled: int
    outside: int


def assess_map(
    class_map: ClassMap, inputs: Inputs, regions: Regions, interval: Interval
) -> MapAssessment:
    """Estimate the areas of the classes of a map, and its accuracies.

    Args:
        class_map: The map.
        inputs: The labelled places.
        regions: Regions to assess besides; none for those of the sample.
        interval: How to make intervals.

    Raises:
        UserError: If a file can't be read or isn't of this map, or a stratum has no label.
    """
    sample = None if inputs.strata is None else read_sample(inputs.strata, class_map)
    planned = sample.regions if sample else NO_REGIONS
    regions = regions if regions.names else planned
    cells = count_cells(class_map, planned, regions)
    if planned.names:  # what lies outside wasn't sampled
        inside = cells.keys[:, 1] > 0
        cells = Cells(cells.keys[inside], cells.pixels[inside], cells.areas[inside])
    found = make_strata(_merge(cells, (0, 1)), planned)
    if sample and not inputs.is_other_map:
        check_map(sample, class_map, found)
    class_map = class_map.name_all(cells.keys[:, 0].tolist())
    labels = read_labels(inputs.labels, class_map, sample)
    mapped = read_mapped(inputs.labels, class_map, labels)
    strata = sample.strata if sample else found
    if sample is None:
        labels = locate_units(labels, mapped, strata)
    check_strata(inputs.labels, class_map, strata, planned, labels)
    values = sorted({*class_map.names, *cells.keys[:, 0].tolist()})
    units = Units(
        labels.strata, np.searchsorted(values, mapped), np.searchsorted(values, labels.references)
    )
    own = not (sample and inputs.is_other_map)
    classes = np.searchsorted(values, strata.values) if own else np.full(len(strata.values), -1)
    design = Design(strata.areas, classes)
    names = [class_map.name(value) for value in values]
    numbers = regions.locate(labels.rows, labels.columns)

    def assess_domain(name: str, chosen: np.ndarray, is_inside: np.ndarray) -> Assessment:
        part = Cells(cells.keys[chosen], cells.pixels[chosen], cells.areas[chosen])
        domain = Domain(
            name,
            is_inside,
            _sum_strata(part, strata) if own else None,
            *_sum_classes(part, values),
        )
        return assess(names, design, units, domain, interval)

    whole = assess_domain("", np.ones(len(cells.keys), bool), np.ones(len(mapped), bool))
    parts = tuple(
        assess_domain(name, cells.keys[:, 2] == index + 1, numbers == index + 1)
        for index, name in enumerate(regions.names)
        if (cells.keys[:, 2] == index + 1).any()
    )
    outside = int((numbers == 0).sum()) if regions.names else 0
    return MapAssessment(class_map, whole, parts, labels.unlabelled, outside)


def find_strata(labels: Path, told: str, name: str) -> Path | None:
    """Find the file of strata of labelled places.

    Args:
        labels: Their file.
        told: The file that the user names; empty for the one beside the labels, if there is one.
        name: Its usual name.
    """
    if told:
        return Path(told)
    beside = labels.parent / name
    return beside if beside.is_file() else None


def locate_units(labels: Labels, mapped: np.ndarray, strata: StrataTable) -> Labels:
    """Return labelled places with the strata of the classes that they are mapped as."""
    return replace(labels, strata=np.searchsorted(strata.values, mapped))


def check_strata(
    path: Path, class_map: ClassMap, strata: StrataTable, regions: Regions, labels: Labels
) -> None:
    """Check that each stratum has a labelled place.

    Args:
        path: File of the labels, for messages.
        class_map: The map.
        strata: The strata.
        regions: The regions of the strata.
        labels: The places.

    Raises:
        UserError: If one has none.
    """
    counts = np.bincount(labels.strata, minlength=len(strata.values))
    if len(empty := np.flatnonzero(counts == 0)):
        first = empty[0]
        region = strata.regions[first]
        where = f" in {regions.names[region - 1]}" if regions.names and region else ""
        raise UserError(
            f"labels {path}: the stratum of class {class_map.name(int(strata.values[first]))}"
            f"{where} has no label ({len(empty)} of {len(counts)} strata have none); expected a "
            "labelled place in each, of a sample by `ssl_jax.areas plan`"
        )


def _merge(cells: Cells, columns: Sequence[int]) -> Cells:
    """Add up the cells that are the same in some columns of their keys."""
    keys, inverse = np.unique(cells.keys[:, columns], axis=0, return_inverse=True)
    inverse = inverse.ravel()
    pixels = np.bincount(inverse, cells.pixels).astype(np.int64)
    return Cells(keys, pixels, np.bincount(inverse, cells.areas))


def _sum_strata(cells: Cells, strata: StrataTable) -> np.ndarray:
    """Return the area of each stratum in some cells of the map."""
    index = {
        key: i for i, key in enumerate(zip(strata.values.tolist(), strata.regions, strict=True))
    }
    areas = np.zeros(len(strata.values))
    for (value, region, _), area in zip(cells.keys.tolist(), cells.areas, strict=True):
        areas[index[value, region]] += area
    return areas


def _sum_classes(cells: Cells, values: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels and the area of each class in some cells of the map."""
    index = np.searchsorted(values, cells.keys[:, 0])
    pixels = np.bincount(index, cells.pixels, len(values)).astype(np.int64)
    return pixels, np.bincount(index, cells.areas, len(values))
