"""The profiles of a prepared dataset: written when it is built, or measured on a sample."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.writing import write_text
from data_pipelines.profiles.counts import SplitCounts, count_image
from data_pipelines.profiles.measurement import make_profile
from data_pipelines.profiles.profile import ClassProfile, DataProfile
from data_pipelines.sources.dataset import ALL, Dataset
from data_pipelines.sources.records import BadRecord
from data_pipelines.sources.split_expressions import SplitExpression
from data_pipelines.sources.subset import Subset, select_subset

__all__ = ["PROFILES", "load_profile", "sample_images", "write_profiles"]

PROFILES = "profiles.json"

# The sample that stands for a split which was not measured when it was built: few enough examples
# to be read in a fraction of a second, and few enough pixels for images of any size.
_SAMPLE_IMAGES = 256
_SAMPLE_PIXELS = 2**24
_SAMPLE_SEED = 0


def write_profiles(dataset: Dataset, counts: Mapping[str, SplitCounts], file: Path) -> None:
    """Write the profile of each split, and of all together, as JSON.

    Args:
        dataset: The prepared dataset, with all of its bands.
        counts: {split: counts of its images}; splits without images are sampled.
        file: The file to write.
    """
    together = SplitCounts()
    for split in counts.values():
        together.merge(split)
    profiles = {
        name: _measure(dataset, name, split).to_dict()
        for name, split in {**counts, ALL: together}.items()
    }
    write_text(file, json.dumps(profiles) + "\n")


def load_profile(dataset: Dataset, expression: str) -> DataProfile:
    """Load the profile of the split that a split expression selects from.

    If the dataset was built without, a random sample of its images is measured.

    Args:
        dataset: The prepared dataset.
        expression: A split expression, such as `train[10%]`.

    Returns:
        The profile, of the dataset's bands.

    Raises:
        UserError: If the stored profile is corrupt.
    """
    split = SplitExpression.parse(expression).split
    file = Path(dataset.info.data_dir) / PROFILES
    if not file.is_file():
        return _measure(dataset, split, SplitCounts())
    try:
        profile = DataProfile.from_dict(json.loads(file.read_text())[split])
        return profile.select(dataset.sensor.names)
    except (UserError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"file {file}: has no valid profile of {split} ({error}); copy it again, or delete it "
            "to have a sample measured instead"
        ) from error


def sample_images(
    dataset: Dataset, expression: str, seed: int = 0, limit: int = _SAMPLE_IMAGES
) -> list[np.ndarray]:
    """Read a random sample of the images of a split expression; unreadable ones are left out.

    Args:
        dataset: The prepared dataset.
        expression: A split expression.
        seed: Seed of the expression's random splits.
        limit: Largest number of images.

    Returns:
        Images (h, w, bands).
    """
    subset = select_subset(dataset, expression, seed)
    return [record["image"] for record in _sample_records(subset, limit)]


def _sample_records(subset: Subset, limit: int = _SAMPLE_IMAGES) -> Iterator[dict[str, Any]]:
    height, width, _ = subset.dataset.image_shape
    limit = min(limit, max(1, _SAMPLE_PIXELS // (height * width)))
    count = len(subset)
    chosen = np.random.default_rng(_SAMPLE_SEED).choice(count, min(count, limit), replace=False)
    for position in np.sort(chosen):
        try:
            yield subset.selected[int(position)]
        except BadRecord:
            continue


def _measure(dataset: Dataset, split: str, counts: SplitCounts) -> DataProfile:
    """Make the profile of a split from its counts, or of a sample if it wasn't counted."""
    subset = select_subset(dataset, split)
    is_sample = counts.histograms is None
    if is_sample:
        counts, read = SplitCounts(), 0
        for record in _sample_records(subset):
            counts.add(count_image(record["image"], record.get("mask")))
            read += 1
        if not read:
            raise UserError(
                f"dataset {dataset.name}: none of a sample of its images can be read; prepare it "
                "again with --overwrite"
            )
        is_sample = read < len(subset)
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
