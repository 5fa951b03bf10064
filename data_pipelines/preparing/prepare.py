"""Writing of a dataset's folder: shards, catalogues, statistics and TFDS's own description.

Everything is written to a folder `VERSION.incomplete`, which is renamed when it is complete: a
folder with a version's name is complete, whenever and however the process ended.
"""

import contextlib
import functools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from rich.filesize import decimal

from data_pipelines.bands import Sensor
from data_pipelines.errors import FULL, UserError, os_error_reason
from data_pipelines.files.lock import acquire_lock
from data_pipelines.preparing.encoding import Encoder, ItemResult, Moments, ReadAndEncode
from data_pipelines.preparing.parallel import parallel_map
from data_pipelines.preparing.progress import ProgressCounter
from data_pipelines.preparing.shards import SplitWriter, assemble_split
from data_pipelines.profiles.counts import SplitCounts
from data_pipelines.reading import Examples, Reading
from data_pipelines.registry import find_builder
from data_pipelines.sources.catalogue import catalogue_columns

__all__ = [
    "PreparationResult",
    "collect_readings",
    "estimate_bytes",
    "prepare",
    "report_full_disk",
    "write_description",
    "write_folder_atomically",
]

Splits = Mapping[str, Iterable[tuple[Any, dict[str, Any]]]]


@dataclass
class PreparationResult:
    """The splits written by a preparation, their moments and the skipped items.

    Attributes:
        infos: TFDS's descriptions of the splits that have examples.
        moments: {split: moments of its images}; without pixels if the images are encoded files.
        counts: {split: counts of its images for the data profile}; without pixels like `moments`.
        skipped: An error message for each skipped item.
    """

    infos: list[tfds.core.SplitInfo] = field(default_factory=list)
    moments: dict[str, Moments] = field(default_factory=dict)
    counts: dict[str, SplitCounts] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(
        self, split: str, info: tfds.core.SplitInfo, moments: Moments, counts: SplitCounts
    ) -> None:
        """Add a split that was written: its description, and what was measured of its images."""
        self.infos.append(info)
        self.moments[split] = moments
        self.counts[split] = counts

    def check(self, name: str) -> None:
        """Check that the dataset has an example.

        Args:
            name: Name of the dataset, for the error message.

        Raises:
            UserError: If there is no example.
        """
        if not self.infos:
            reason = f"; {len(self.skipped)} skipped: {self.skipped[0]}" if self.skipped else ""
            raise UserError(f"dataset {name}: has no example{reason}")


@contextlib.contextmanager
def write_folder_atomically(folder: Path) -> Iterator[tuple[Path, str]]:
    """Replace a folder atomically by one that is written inside the `with` block.

    The new folder is renamed to `folder` after the block, or deleted if an exception is raised. The
    old contents of `folder` are kept until the new ones are complete.

    Args:
        folder: The folder to replace; it need not exist.

    Yields:
        The folder to write to, and a notice about an interrupted earlier build; empty if there was
        none.

    Raises:
        UserError: If another process is preparing the same dataset.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    incomplete = folder.with_name(f"{folder.name}.incomplete")
    replaced = folder.with_name(f"{folder.name}.replaced")
    lock = folder.with_name(f".{folder.name}.lock")
    with acquire_lock(lock, f"dataset {folder}", "preparing it"):
        notice = ""
        if replaced.exists() and not folder.exists():  # killed between the two renames below
            replaced.rename(folder)
        if incomplete.exists():
            shutil.rmtree(incomplete)
            notice = f"an earlier build was interrupted: deleted {incomplete}, starting again"
        incomplete.mkdir()
        try:
            yield incomplete, notice
            if folder.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                folder.rename(replaced)
            incomplete.rename(folder)
        finally:
            shutil.rmtree(incomplete, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def collect_readings(splits: Splits) -> list[Reading[Any]]:
    """Return the distinct readings of the splits."""
    return list({id(e.reading): e.reading for e in splits.values() if isinstance(e, Examples)}
                .values())  # fmt: skip


def prepare(
    builder: tfds.core.DatasetBuilder,
    name: str,
    splits: Splits,
    folder: Path,
    workers: int = 1,
    skip: bool = False,
) -> PreparationResult:
    """Read all examples and write them below `folder`.

    Args:
        builder: The TFDS builder.
        name: Dataset name, as the user wrote it, by which the workers find the builder.
        splits: The splits that its `_split_generators` returned.
        folder: An empty folder.
        workers: Number of reading processes, for splits of a `Reading`; others are read in this
            process.
        skip: Whether to skip invalid items, instead of stopping at the first one.

    Raises:
        UserError: If an item is invalid, there is no valid example, or the disk is full.
    """
    _check_space(folder, estimate_bytes(builder, splits))
    result = PreparationResult()
    columns = catalogue_columns(builder.info)
    writers = {split: SplitWriter(folder, split, columns) for split in splits}
    try:
        with (
            ProgressCounter(name, _count_expected_examples(builder, splits)) as progress,
            report_full_disk(folder, writers),
        ):
            for item in _read_items(builder, name, splits, workers):
                writer = writers[item.split]
                error_message = item.error_message or writer.find_duplicate(item.records)
                if error_message and not skip:
                    raise UserError(error_message)
                if error_message:
                    result.skipped.append(error_message)
                    continue
                for record in item.records:
                    writer.write(record)
                progress.advance(len(item.records))
            for split, writer in writers.items():
                if (written := writer.finish()) is not None:
                    result.add(split, *assemble_split(builder.name, folder, [written]))
    finally:
        for writer in writers.values():
            writer.abort()
    result.check(name)
    return result


def write_description(
    builder: tfds.core.DatasetBuilder, folder: Path, result: PreparationResult
) -> None:
    """Write TFDS's description of the dataset, its statistics and the list of skipped items.

    If the builder's sensor has no statistics, the measured ones are used: those of `train` if there
    is such a split, otherwise those of all splits.

    Args:
        builder: The TFDS builder.
        folder: Folder of the dataset.
        result: Result of the preparation.
    """
    info = builder.info
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD, override=True)
    info.set_splits(tfds.core.SplitDict(result.infos))
    measured = {split: moments for split, moments in result.moments.items() if moments.pixels}
    if info.metadata and "sensor" in info.metadata and measured:
        sensor = Sensor.from_dict(info.metadata["sensor"])
        if not sensor.measured:
            moments = measured.get("train") or sum(measured.values(), Moments())
            info.metadata["sensor"] = sensor.with_statistics(
                moments.mean.tolist(), moments.std.tolist()
            ).to_dict()
    info.write_to_directory(folder)
    statistics = {
        split: {"pixels": m.pixels, "mean": m.mean.tolist(), "std": m.std.tolist()}
        for split, m in measured.items()
    }
    (folder / "statistics.json").write_text(json.dumps(statistics, indent=1))
    if result.skipped:
        (folder / "skipped.txt").write_text("".join(f"{line}\n" for line in result.skipped))


@contextlib.contextmanager
def report_full_disk(
    folder: Path, writers: Mapping[str, SplitWriter] | None = None
) -> Iterator[None]:
    """Replace the errors of a full disk by a `UserError`.

    Args:
        folder: A folder on that disk.
        writers: {split: its writer}, to report how much was written.

    Raises:
        UserError: If the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # array_record raises a RuntimeError
        if not os_error_reason(error, FULL):
            raise
        progress = ""
        if writers:
            examples = sum(writer.num_examples for writer in writers.values())
            size = sum(writer.num_bytes for writer in writers.values())
            progress = f" after {examples:,} examples ({decimal(size)})"
        raise UserError(
            f"folder {folder.parent}: the disk is full{progress}; expected room for the complete "
            "dataset; what was written of it has been deleted"
        ) from error


def _read_items(
    builder: tfds.core.DatasetBuilder, name: str, splits: Splits, workers: int
) -> Iterator[ItemResult]:
    encoder = Encoder(builder.info)
    for reading in collect_readings(splits):
        yield from parallel_map(
            ReadAndEncode(reading.read, encoder),
            reading.items,
            workers,
            reading.chunk,
            functools.partial(find_builder, name),
        )
    for split, examples in splits.items():
        if not isinstance(examples, Examples):
            for key, example in examples:
                yield ItemResult(split, (encoder(key, example),), "")


def estimate_bytes(builder: tfds.core.DatasetBuilder, splits: Splits) -> int | None:
    """Estimate the size of the dataset in bytes, or return None if it is unknown.

    Only arrays of a fixed shape are counted.

    Args:
        builder: The TFDS builder.
        splits: The splits that its `_split_generators` returned.
    """
    num_examples = _count_expected_examples(builder, splits)
    arrays = [
        feature
        for feature in builder.info.features.values()
        if type(feature) is tfds.features.Tensor and None not in feature.shape
    ]
    example_bytes = sum(
        int(np.prod(feature.shape)) * np.dtype(feature.np_dtype).itemsize for feature in arrays
    )
    return None if num_examples is None else num_examples * example_bytes


def _count_expected_examples(builder: tfds.core.DatasetBuilder, splits: Splits) -> int | None:
    """Return the number of examples that the dataset will have, or None if it is unknown."""
    expected = {
        split: number for r in collect_readings(splits) for split, number in r.expected.items()
    }
    declared = getattr(builder, "expected_examples", {}).items()
    expected |= {split: n for split, n in declared if not isinstance(splits.get(split), Examples)}
    counts = [expected.get(split) for split in splits]
    return None if None in counts else sum(count or 0 for count in counts)


def _check_space(folder: Path, size: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and size > free:
        raise UserError(
            f"folder {folder.parent}: the dataset takes {decimal(size)}, and {decimal(free)} are "
            "free; expected room for all of it"
        )
