"""Preparation of a dataset, unless it is prepared already."""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.preparing.builders import (
    BuildOptions,
    dataset_folder,
    explain_tensorflow_errors,
    make_builder,
    make_split_generators,
    published_sensor,
    silence_tfds,
)
from data_pipelines.preparing.prepare import (
    PreparationResult,
    Splits,
    collect_readings,
    prepare,
    report_full_disk,
    write_description,
    write_folder_atomically,
)
from data_pipelines.preparing.summary import CONTACT_SHEET, write_contact_sheet
from data_pipelines.profiles.comparison import compare, compare_range
from data_pipelines.profiles.findings import Finding, Remedies, check_accepted, settle
from data_pipelines.profiles.measurement import make_published_profile, make_range_profile
from data_pipelines.profiles.stored import PROFILES, observe_dataset, write_profiles
from data_pipelines.sources.dataset import ALL, Dataset, check_usable
from data_pipelines.sources.opening import open_folder

__all__ = ["BuildResult", "build", "build_with"]

_REMEDIES = Remedies("--config.scale={}", "--config.offset={}", "--config.bands={}", "--accept {}")


@dataclass(frozen=True)
class BuildResult:
    """A prepared dataset.

    Attributes:
        folder: Its folder.
        new: Whether it was prepared just now, rather than before.
        expected: {split: number of examples that its builder expects}; None if it is unknown.
        skipped: An error message for each item that was skipped.
        num_pixels: Number of pixels in the files, if each was to be stored once; 0 if that is
            unknown.
    """

    folder: Path
    new: bool
    expected: Mapping[str, int | None]
    skipped: Sequence[str]
    num_pixels: int = 0


def build(
    name: str,
    data_dir: str | Path,
    manual_dir: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 1,
    skip: bool = False,
    fields: Sequence[str] = (),
    accept: Sequence[str] = (),
) -> Path:
    """Prepare a dataset, unless it is prepared already.

    Args:
        name: Dataset name, as for `registry.find_builder`.
        data_dir: Folder of prepared datasets.
        manual_dir: Folder with the user's own files, for builders that read one.
        overwrite: Whether to prepare it again if it is prepared already.
        workers: Number of reading processes; more than one only under
            `if __name__ == "__main__":`.
        skip: Whether to skip invalid items and list them in `skipped.txt`, instead of stopping at
            the first one.
        fields: Fields of the builder's config, as `FIELD=VALUE`.
        accept: Names of checks of the pixels to pass over.

    Returns:
        The folder of the prepared dataset.

    Raises:
        UserError: If there is no such builder or config, or `manual_dir` lacks the expected files.
    """
    manual = None if manual_dir is None else Path(manual_dir)
    options = BuildOptions(
        Path(data_dir).expanduser(),
        manual,
        overwrite,
        workers,
        skip,
        tuple(fields),
        accept=check_accepted(accept, "accept"),
    )
    return build_with(name, make_builder(name, options), options).folder


def build_with(
    name: str,
    builder: tfds.core.DatasetBuilder,
    options: BuildOptions,
    announce: Callable[[Splits], None] = lambda splits: None,
) -> BuildResult:
    """Prepare the dataset of a builder, unless it is prepared already.

    Args:
        name: Dataset name, as the user wrote it.
        builder: The TFDS builder, from `make_builder`.
        options: Options of the build.
        announce: Function called with the builder's splits before they are read.

    Raises:
        UserError: If it is prepared with another config, or its files are not the expected ones.
    """
    folder = dataset_folder(builder, options)
    if (folder / "dataset_info.json").is_file() and not options.overwrite:
        _check_same_config(builder, name, folder)
        return BuildResult(folder, False, {}, [])
    check_usable(name, builder.info)
    published = published_sensor(builder)  # before its statistics are replaced by measured ones
    with report_full_disk(folder), write_folder_atomically(folder) as (incomplete, notice):
        if notice:
            print(notice, file=sys.stderr)
        with explain_tensorflow_errors(builder):
            splits = make_split_generators(builder, options)
            announce(splits)
            result = _prepare_splits(builder, name, splits, incomplete, options)
        write_description(builder, incomplete, result)
        with silence_tfds():
            dataset = open_folder(incomplete, name)
        to_tell, accepted = _check_pixels(dataset, published, options.accept)
        write_profiles(dataset, result.counts, accepted, incomplete / PROFILES)
        write_contact_sheet(dataset, incomplete / CONTACT_SHEET)
    readings = collect_readings(splits)
    expected = {split: n for reading in readings for split, n in reading.expected.items()}
    num_pixels = sum(reading.num_pixels for reading in readings)
    for finding in to_tell:
        print(f"warning: {finding.message}", file=sys.stderr)
    return BuildResult(folder, True, expected, result.skipped, num_pixels)


def _check_pixels(
    dataset: Dataset, sensor: Sensor | None, accept: Sequence[str]
) -> tuple[list[Finding], list[str]]:
    """Compare the images with the sensor that the builder names, as it is published.

    Returns:
        What to warn of, and the names of the checks that found something and were passed over.

    Raises:
        UserError: If the images can't be of that sensor.
    """
    observed = observe_dataset(dataset, ALL)
    if observed is None or sensor is None:
        return [], []
    if (dataset.info.metadata or {}).get("nodata") == 0:  # known, and told of already
        observed = dataclasses.replace(observed, nodata=0.0)
    size, dtype = dataset.image_shape[:2], str(dataset.image_dtype)
    remedies = dataclasses.replace(_REMEDIES, unit=sensor.bands[0].scale)
    published = make_published_profile(sensor, size, dtype)
    if published is not None:
        findings = compare(observed, published, remedies)
    else:
        findings = compare_range(observed, make_range_profile(sensor, size, dtype), remedies)
    # A build keeps what the files contain, and tells what is strange about it. But a band without
    # any content is none.
    findings = [
        dataclasses.replace(finding, refuse=finding.refuse and finding.check == "constant")
        for finding in findings
    ]
    return settle(findings, f"dataset {dataset.name}", remedies, accept)


def _prepare_splits(
    builder: tfds.core.DatasetBuilder,
    name: str,
    splits: Splits,
    folder: Path,
    options: BuildOptions,
) -> PreparationResult:
    """Read and write all examples, in processes of this machine or with Apache Beam."""
    if not options.beam_runner:
        return prepare(builder, name, splits, folder, options.workers, options.skip)
    from data_pipelines.preparing.beam import prepare_with_beam

    runner, beam_options = options.beam_runner, options.beam_options
    return prepare_with_beam(builder, splits, folder, runner, beam_options, options.skip)


def _check_same_config(builder: tfds.core.DatasetBuilder, name: str, folder: Path) -> None:
    """Check that the dataset prepared under a name was prepared with the name's present config."""
    stored = tfds.builder_from_directory(folder).info
    present, prepared = (
        (info.features.to_json(), _strip_measured(info.metadata)) for info in (builder.info, stored)
    )
    if present != prepared:
        raise UserError(
            f"dataset {name}: is prepared in {folder} with another config; expected --overwrite, "
            "or another name for this one"
        )


def _strip_measured(metadata: Mapping[str, Any] | None) -> Any:
    """Return metadata as JSON has it, without what a build may have measured in the files."""
    plain = json.loads(json.dumps(dict(metadata or {})))
    plain.pop("nodata", None)
    for band in plain.get("sensor", {}).get("bands", ()):
        del band["mean"], band["std"]
    return plain
