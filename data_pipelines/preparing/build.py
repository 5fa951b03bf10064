"""Preparing a dataset, unless it is prepared already."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.preparing.builders import (
    BuildOptions,
    dataset_folder,
    explain_tensorflow_errors,
    make_builder,
    make_split_generators,
    silence_tfds,
)
from data_pipelines.preparing.prepare import (
    Preparation,
    Splits,
    prepare,
    report_full_disk,
    unique_readings,
    write_description,
    write_folder_atomically,
)
from data_pipelines.preparing.summary import CONTACT_SHEET, contact_sheet
from data_pipelines.sources.dataset import check_usable
from data_pipelines.sources.opening import open_folder

__all__ = ["BuildResult", "build", "build_with"]


@dataclass(frozen=True)
class BuildResult:
    """A prepared dataset.

    Attributes:
        folder: where it lies.
        new: whether it was prepared just now.
        expected: how many examples its splits should have, as far as its builder says.
        skipped: what was wrong with each item that was left out.
    """

    folder: Path
    new: bool
    expected: Mapping[str, int | None]
    skipped: Sequence[str]


def build(
    name: str,
    data_dir: str | Path,
    manual_dir: str | Path | None = None,
    overwrite: bool = False,
    workers: int = 1,
    skip: bool = False,
    fields: Sequence[str] = (),
) -> Path:
    """Prepare a dataset, unless it is prepared already.

    Args:
        name: as `registry.find_builder` takes it.
        data_dir: where prepared datasets lie.
        manual_dir: the folder with the user's own files, for builders that read one.
        overwrite: prepare it again if it is prepared already.
        workers: processes that read; more than one only under `if __name__ == "__main__":`.
        skip: leave bad items out and list them in `skipped.txt`, rather than stop at the first.
        fields: of the builder's config, as `FIELD=VALUE`.

    Returns:
        The folder of the prepared dataset.

    Raises:
        UserError: no such builder or config, or it can't make anything of `manual_dir`.
    """
    manual = None if manual_dir is None else Path(manual_dir)
    options = BuildOptions(
        Path(data_dir).expanduser(), manual, overwrite, workers, skip, tuple(fields)
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
        name: what the user calls it.
        builder: see `make_builder`.
        options: how it is prepared.
        announce: called with what there is to read, before anything is read.

    Raises:
        UserError: it is prepared with another config, or its files can't be made anything of.
    """
    folder = dataset_folder(builder, options)
    if (folder / "dataset_info.json").is_file() and not options.overwrite:
        _check_same(builder, name, folder)
        return BuildResult(folder, False, {}, [])
    check_usable(name, builder.info)
    with report_full_disk(folder), write_folder_atomically(folder) as (incomplete, left):
        if left:
            print(left, file=sys.stderr)
        with explain_tensorflow_errors(builder):
            splits = make_split_generators(builder, options)
            announce(splits)
            done = _prepared(builder, name, splits, incomplete, options)
        write_description(builder, incomplete, done)
        with silence_tfds():
            dataset = open_folder(incomplete, name)
        contact_sheet(dataset, incomplete / CONTACT_SHEET)
    expected = {split: n for r in unique_readings(splits) for split, n in r.expected.items()}
    return BuildResult(folder, True, expected, done.skipped)


def _prepared(
    builder: tfds.core.DatasetBuilder,
    name: str,
    splits: Splits,
    folder: Path,
    options: BuildOptions,
) -> Preparation:
    """Read and write all examples, in processes of this machine or by Apache Beam."""
    if not options.beam_runner:
        return prepare(builder, name, splits, folder, options.workers, options.skip)
    from data_pipelines.preparing.beam import prepare_with_beam

    runner, extra = options.beam_runner, options.beam_options
    return prepare_with_beam(builder, splits, folder, runner, extra, options.skip)


def _check_same(builder: tfds.core.DatasetBuilder, name: str, folder: Path) -> None:
    """See to it that what is prepared under a name is what the name stands for now."""
    stored = tfds.builder_from_directory(folder).info
    now, then = (
        (info.features.to_json(), _undescribed(info.metadata)) for info in (builder.info, stored)
    )
    if now != then:
        raise UserError(
            f"dataset {name}: is prepared in {folder} with another config; expected --overwrite, "
            "or another name for this one"
        )


def _undescribed(metadata: Mapping[str, Any] | None) -> Any:
    """Metadata without the statistics, which a build may have measured, as JSON has it."""
    plain = json.loads(json.dumps(dict(metadata or {})))
    for band in plain.get("sensor", {}).get("bands", ()):
        del band["mean"], band["std"]
    return plain
