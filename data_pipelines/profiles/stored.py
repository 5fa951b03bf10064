"""The profiles of a prepared dataset: written when it is built, or measured on a sample.

`profiles.json` has the profile of each split and of all together, and the names of the checks that
found something when the dataset was built and were passed over.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_text
from data_pipelines.profiles.counts import SplitCounts, count_image
from data_pipelines.profiles.measurement import make_profile
from data_pipelines.profiles.observation import Observation, observe
from data_pipelines.profiles.profile import ClassProfile, DataProfile
from data_pipelines.sources.dataset import ALL, Dataset
from data_pipelines.sources.records import BadRecord, Decoder, Record
from data_pipelines.sources.subset import Subset, parse_expression, select_subset
from data_pipelines.sources.windows import Windows, crop_to_inside

__all__ = [
    "PROFILES",
    "load_accepted",
    "load_profile",
    "observe_dataset",
    "write_profiles",
]

PROFILES = "profiles.json"

# The sample that stands for a split which was not measured when it was built: few enough examples
# to be read in a fraction of a second, and few enough pixels for images of any size.
_SAMPLE_IMAGES = 256
_SAMPLE_PIXELS = 2**24
_SAMPLE_SEED = 0


def write_profiles(
    dataset: Dataset, counts: Mapping[str, SplitCounts], accepted: Sequence[str], file: Path
) -> None:
    """Write the profile of each split, and of all together, as JSON.

    Args:
        dataset: The prepared dataset, with all of its bands.
        counts: {split: counts of its images}; splits without images are sampled.
        accepted: Names of the checks that were passed over.
        file: The file to write.
    """
    together = SplitCounts()
    for split in counts.values():
        together.merge(split)
    profiles = {
        name: _measure(dataset, name, split).to_dict()
        for name, split in {**counts, ALL: together}.items()
    }
    write_text(file, json.dumps({"accepted": list(accepted), "splits": profiles}) + "\n")


def load_profile(dataset: Dataset, expression: str) -> DataProfile:
    """Load the profile of the split that a split expression selects from.

    If the dataset was built without, a random sample of its images is measured.

    Args:
        dataset: The prepared dataset.
        expression: A split expression, such as `train[10%]`.

    Returns:
        The profile, of the dataset's bands.

    Raises:
        UserError: If the dataset has no such split, or the stored profile is corrupt.
    """
    split = parse_expression(dataset, expression).split
    stored = _read_profiles(dataset)
    if stored is None:
        return _measure(dataset, split, SplitCounts())
    try:
        return DataProfile.from_dict(stored["splits"][split]).select(dataset.sensor.names)
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise _make_error(dataset, f"no valid profile of {split} ({error})") from error


def load_accepted(dataset: Dataset) -> tuple[str, ...]:
    """Load the names of the checks that were passed over when a dataset was built.

    Raises:
        UserError: If the file is corrupt.
    """
    stored = _read_profiles(dataset)
    accepted = (stored or {}).get("accepted", [])
    if not isinstance(accepted, list) or not all(isinstance(name, str) for name in accepted):
        raise _make_error(dataset, "no valid list of accepted checks")
    return tuple(accepted)


def _read_profiles(dataset: Dataset) -> dict[str, Any] | None:
    """Return the content of the dataset's file; None if it was built without."""
    file = _find_file(dataset)
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise _make_error(dataset, f"no valid JSON ({error})") from error
    if not isinstance(stored, dict):
        raise _make_error(dataset, "no JSON object")
    return stored


def _find_file(dataset: Dataset) -> Path:
    return Path(dataset.info.data_dir) / PROFILES


def _make_error(dataset: Dataset, found: str) -> UserError:
    return UserError(
        f"file {_find_file(dataset)}: has {found}; copy it again, or delete it to have a sample "
        "measured instead"
    )


def observe_dataset(dataset: Dataset, expression: str, seed: int = 0) -> Observation | None:
    """Summarise a random sample of the images of a split expression.

    Args:
        dataset: The prepared dataset.
        expression: A split expression.
        seed: Seed of the expression's random splits.

    Returns:
        The summary, or None if no image of the sample can be read.
    """
    records = _sample_records(select_subset(dataset, expression, seed))
    images = [record["image"] for record in records]
    return observe(images) if images else None


def _sample_records(subset: Subset) -> Iterator[Record]:
    """Read a random sample of a subset's records, without the padding of blocks."""
    source = subset.selected
    if isinstance(source, Windows):
        inside = Decoder.for_feature("inside", subset.dataset.info.features["inside"])
        rows = np.unique(source.block_rows[source.rows])
        decoders = (*source.blocks.decoders, inside)
        source = replace(source.blocks, decoders=decoders, rows=source.blocks.rows[rows])
    count, limit = len(source), _SAMPLE_IMAGES
    chosen = np.random.default_rng(_SAMPLE_SEED).choice(count, min(count, limit), replace=False)
    pixels = 0
    for position in chosen:
        if pixels > _SAMPLE_PIXELS:
            return
        try:
            record = source[int(position)]
        except BadRecord:
            continue
        names = [name for name in ("image", "mask") if name in record]
        cropped: Record = {name: crop_to_inside(record[name], record) for name in names}
        pixels += cropped["image"][..., 0].size
        if cropped["image"].size:  # some blocks are nothing but padding
            yield cropped


def _measure(dataset: Dataset, split: str, counts: SplitCounts) -> DataProfile:
    """Make the profile of a split from its counts, or of a sample if it wasn't counted."""
    subset = select_subset(dataset, split)
    is_sample = counts.histograms is None
    if is_sample:
        counts = SplitCounts()
        for record in _sample_records(subset):
            counts.add(count_image(record["image"], record.get("mask")))
        if not counts.images:
            raise UserError(
                f"dataset {dataset.name}: none of a sample of its images can be read; prepare it "
                "again with --overwrite"
            )
        is_sample = counts.images < len(subset)
    examples = subset.description().get("classes")
    per_class = examples or dict(zip(dataset.classes, counts.mask, strict=False))
    colours = dataset.colours or ((),) * len(dataset.classes)
    classes = [
        ClassProfile(name, number, tuple(colour), int(per_class[name]))
        for number, (name, colour) in enumerate(zip(dataset.classes, colours, strict=False))
    ]
    counted = "examples" if examples else "pixels" if classes and dataset.target == "mask" else ""
    return make_profile(
        dataset.sensor,
        dataset.image_shape[:2],
        counts,
        is_sample,
        counted,
        classes if counted else (),
    )
