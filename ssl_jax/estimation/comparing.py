"""What two maps of the same pixels differ in, and which is better."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from data_pipelines.errors import UserError
from data_pipelines.files.writing import replace_when_written
from ssl_jax.estimation.classified import ClassMap, count_cells, iterate_rows
from ssl_jax.estimation.estimating import Inputs, check_strata, locate_units
from ssl_jax.estimation.estimators import Estimate, Interval, Strata, estimate_difference
from ssl_jax.estimation.estimators import estimate_share as _estimate_share
from ssl_jax.estimation.files.labels import read_labels, read_mapped
from ssl_jax.estimation.files.sample import (
    Sample,
    describe_place,
    is_same_place,
    make_strata,
    read_sample,
)
from ssl_jax.estimation.regions import NO_REGIONS
from ssl_jax.maps.colours import choose_colours

__all__ = ["Difference", "Transition", "Transitions", "compare_labels", "find_transitions"]

# Value of pixels of the change map without data in one of the maps.
_NODATA = 65535
_TILE = 256


class Transition(NamedTuple):
    """The pixels of one class in the first map and one in the second.

    Attributes:
        before: Class in the first map.
        after: Class in the second map.
        value: Its value in the change map, 0 where nothing changes.
        pixels: Number of pixels.
        area: Their area.
    """

    before: str
    after: str
    value: int
    pixels: int
    area: float


class Transitions(NamedTuple):
    """The transitions between two maps.

    Attributes:
        unit: Unit of areas.
        rows: The transitions, the largest first, and unchanged classes.
        changed: Share of the area that changes.
    """

    unit: str
    rows: tuple[Transition, ...]
    changed: float


class Difference(NamedTuple):
    """Which map is better.

    Attributes:
        places: Number of labelled places.
        only: Numbers of places that only the first map has right, and only the second.
        accuracies: Overall accuracy of the first map, and of the second.
        gain: Overall accuracy of the second map minus that of the first.
        verdict: Which is better, in words.
    """

    places: int
    only: tuple[int, int]
    accuracies: tuple[Estimate, Estimate]
    gain: Estimate
    verdict: str


def find_transitions(first: ClassMap, second: ClassMap, target: Path) -> Transitions:
    """Add up the transitions between two maps, and write the map of changes.

    Args:
        first: The earlier map, or the one to compare with.
        second: The other map.
        target: File of the map of changes.

    Raises:
        UserError: If the maps aren't of the same pixels, or a file can't be read or written.
    """
    if not is_same_place(describe_place(first), describe_place(second)):
        raise UserError(
            f"map {second.path}: has other pixels than {first.path} ({_describe(second)}, not "
            f"{_describe(first)}); expected the same size and place: warp it to that grid"
        )
    values = sorted(
        {int(v) for each in (first, second) for v in count_cells(each, NO_REGIONS).keys[:, 0]}
    )
    count = len(values)
    if count**2 >= _NODATA:
        raise UserError(f"map {second.path}: {count} classes; expected at most 255 in both maps")
    totals = np.zeros((2, count * count))
    with replace_when_written(target) as temporary:
        try:
            _write_changes(temporary, first, second, values, totals)
        except RasterioError as error:
            raise UserError(f"file {target}: can't be written ({error})") from error
    if not totals[0].any():
        raise UserError(f"map {second.path}: has data nowhere where {first.path} has some")
    pixels, areas = totals.reshape(2, count, count)
    rows = [
        Transition(
            first.name(values[i]),
            second.name(values[j]),
            0 if i == j else 1 + int(i) * count + int(j),
            int(pixels[i, j]),
            float(areas[i, j]),
        )
        for i, j in np.argwhere(pixels)
    ]
    rows.sort(key=lambda row: (row.value == 0, -row.area))
    changed = 1 - float(np.trace(areas) / areas.sum())
    return Transitions(first.unit, tuple(rows), changed)


def _write_changes(
    path: Path, first: ClassMap, second: ClassMap, values: Sequence[int], totals: np.ndarray
) -> None:
    """Write the map of changes, and add pixels and areas of pairs of classes to `totals`."""
    height, width = first.size
    count, place = len(values), first.georeference
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": 1,
        "dtype": "uint16",
        "nodata": _NODATA,
        "compress": "deflate",
        "bigtiff": "if_safer",
        "crs": place.crs,
        **({"transform": place.transform} if place.transform is not None else {}),
        **({"tiled": True, "blockxsize": _TILE, "blockysize": _TILE} if width > _TILE else {}),
    }
    with rasterio.open(path, "w", **profile) as raster:
        colours = choose_colours(count)
        raster.write_colormap(
            1,
            {0: (225, 225, 225, 255)}
            | {
                1 + i * count + j: (*colours[j], 255)
                for i in range(count)
                for j in range(count)
                if i != j
            },
        )
        raster.update_tags(
            **{
                f"CLASS_{1 + i * count + j}": f"{first.name(a)} → {second.name(b)}"
                for i, a in enumerate(values)
                for j, b in enumerate(values)
                if i != j
            },
            CLASS_0="unchanged",
        )
        for one, other in zip(iterate_rows(first), iterate_rows(second), strict=True):
            is_valid = one.is_valid & other.is_valid
            before = np.searchsorted(values, np.where(is_valid, one.classes, values[0]))
            after = np.searchsorted(values, np.where(is_valid, other.classes, values[0]))
            code = before * count + after
            totals += (
                np.bincount(code[is_valid], minlength=count * count),
                np.bincount(code[is_valid], one.areas[is_valid], count * count),
            )
            change = np.where(before == after, 0, code + 1)
            rows = np.where(is_valid, change, _NODATA).astype(np.uint16)
            raster.write(rows, 1, window=Window(0, one.top, width, len(rows)))


def compare_labels(
    first: ClassMap, second: ClassMap, inputs: Inputs, interval: Interval
) -> Difference:
    """Compare the accuracies of two maps at the same labelled places.

    Each place weighs as much as its stratum's area says; the places that only one of the maps has
    right decide. McNemar's test, which counts them, ignores the strata.

    Args:
        first: The first map.
        second: The second map.
        inputs: The labelled places, stratified by either map or another.
        interval: How to make intervals.

    Raises:
        UserError: If a file can't be read, a place lies outside of a map or a stratum has no label.
    """
    cells = count_cells(first, NO_REGIONS)
    others = count_cells(second, NO_REGIONS)
    first = first.name_all([*cells.keys[:, 0].tolist(), *others.keys[:, 0].tolist()])
    sample: Sample | None = None if inputs.strata is None else read_sample(inputs.strata, first)
    labels = read_labels(inputs.labels, first, sample)
    mapped = [read_mapped(inputs.labels, each, labels) for each in (first, second)]
    strata = sample.strata if sample else make_strata(cells, NO_REGIONS)
    if sample is None:
        labels = locate_units(labels, mapped[0], strata)
    regions = sample.regions if sample else NO_REGIONS
    check_strata(inputs.labels, first, strata, regions, labels)
    count = len(strata.values)
    design = Strata(strata.areas / strata.areas.sum(), np.bincount(labels.strata, minlength=count))
    one, other = (classes == labels.references for classes in mapped)

    def by_stratum(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(labels.strata, chosen, count)

    gain = estimate_difference(design, by_stratum(other & ~one), by_stratum(one & ~other), interval)
    accuracies = tuple(
        _estimate_share(design, by_stratum(right), interval) for right in (one, other)
    )
    return Difference(
        len(one),
        (int((one & ~other).sum()), int((other & ~one).sum())),
        (accuracies[0], accuracies[1]),
        gain,
        _judge(first, second, gain, interval),
    )


def _judge(first: ClassMap, second: ClassMap, gain: Estimate, interval: Interval) -> str:
    told = f"{100 * interval.confidence:g} % confidence"
    if gain.lower > 0 or gain.upper < 0:
        better, worse = (second, first) if gain.lower > 0 else (first, second)
        return f"{better.path.name} is better than {worse.path.name}, by more than chance ({told})"
    return f"no difference beyond chance is seen ({told})"


def _describe(class_map: ClassMap) -> str:
    t, (height, width) = class_map.georeference.transform, class_map.size
    corner = f" at ({t.c:.8g}, {t.f:.8g})" if t is not None else ""
    return f"{height} × {width}{corner}"
