"""Writes a dataset's folder: shards, catalogue, statistics and TFDS's own description of it.

Everything is written under another name, `VERSION.incomplete`, and renamed when it is complete: a
folder that bears a version's name is whole, whenever and however the process was ended.
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
from data_pipelines.preparing.progress import Counter
from data_pipelines.preparing.shards import SplitWriter, assemble
from data_pipelines.reading import Examples, Reading
from data_pipelines.registry import find_builder
from data_pipelines.sources.catalogue import small_features

__all__ = [
    "Preparation",
    "expected_bytes",
    "prepare",
    "report_full_disk",
    "unique_readings",
    "write_description",
    "write_folder_atomically",
]

Splits = Mapping[str, Iterable[tuple[Any, dict[str, Any]]]]


@dataclass
class Preparation:
    """What came of a preparation.

    Attributes:
        infos: of the splits that have examples.
        moments: of the images of each split; of none where they are encoded files.
        skipped: what was wrong with each item left out.
    """

    infos: list[tfds.core.SplitInfo] = field(default_factory=list)
    moments: dict[str, Moments] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def check(self, name: str) -> None:
        """See that there is anything at all.

        Raises:
            UserError: there is no example.
        """
        if not self.infos:
            reason = f"; {len(self.skipped)} skipped: {self.skipped[0]}" if self.skipped else ""
            raise UserError(f"dataset {name}: has no example{reason}")


@contextlib.contextmanager
def write_folder_atomically(folder: Path) -> Iterator[tuple[Path, str]]:
    """A folder to write in, which becomes `folder` when all went well and is removed otherwise.

    What was in `folder` before stays until its successor is complete.

    Yields:
        The folder to write in, and what was found of an earlier build; empty for nothing.

    Raises:
        UserError: another process is preparing the same dataset.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    incomplete = folder.with_name(f"{folder.name}.incomplete")
    replaced = folder.with_name(f"{folder.name}.replaced")
    lock = folder.with_name(f".{folder.name}.lock")
    refusal = f"dataset {folder}: another process is preparing it; wait for it, or stop it"
    with acquire_lock(lock, refusal):
        left = ""
        if replaced.exists() and not folder.exists():  # killed between the two renames below
            replaced.rename(folder)
        if incomplete.exists():
            shutil.rmtree(incomplete)
            left = f"an earlier build was interrupted: {incomplete} is removed, starting again"
        incomplete.mkdir()
        try:
            yield incomplete, left
            if folder.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                folder.rename(replaced)
            incomplete.rename(folder)
        finally:
            shutil.rmtree(incomplete, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def unique_readings(splits: Splits) -> list[Reading[Any]]:
    """The readings behind the splits, each once."""
    return list({id(e.reading): e.reading for e in splits.values() if isinstance(e, Examples)}
                .values())  # fmt: skip


def prepare(
    builder: tfds.core.DatasetBuilder,
    name: str,
    splits: Splits,
    folder: Path,
    workers: int = 1,
    skip: bool = False,
) -> Preparation:
    """Read all examples and write them below `folder`.

    Args:
        builder: the TFDS builder.
        name: as the user wrote it, by which other processes find it.
        splits: what its `_split_generators` returned.
        folder: an empty one.
        workers: processes that read; only for splits that are of a `Reading`.
        skip: leave bad items out, rather than stop at the first one.

    Raises:
        UserError: an item is bad, no example is left, or the disk is full.
    """
    _check_space(folder, expected_bytes(builder, splits))
    done = Preparation()
    columns = tuple(small_features(builder.info.features))
    writers = {split: SplitWriter(folder, split, columns) for split in splits}
    try:
        with (
            Counter(name, _expected(builder, splits)) as progress,
            report_full_disk(folder, writers),
        ):
            for outcome in _outcomes(builder, name, splits, workers):
                writer = writers[outcome.split]
                error_message = outcome.error_message or writer.duplicate(outcome.records)
                if error_message and not skip:
                    raise UserError(error_message)
                if error_message:
                    done.skipped.append(error_message)
                    continue
                for record in outcome.records:
                    writer.write(record)
                progress.advance(len(outcome.records))
            for split, writer in writers.items():
                if (written := writer.finish()) is not None:
                    info, done.moments[split] = assemble(builder.name, folder, [written])
                    done.infos.append(info)
    finally:
        for writer in writers.values():
            writer.abandon()
    done.check(name)
    return done


def write_description(builder: tfds.core.DatasetBuilder, folder: Path, done: Preparation) -> None:
    """Write TFDS's description of the dataset, the statistics and the list of what was skipped.

    Where the builder's sensor has no statistics, those measured are put in: over `train` where
    there is such a split, else over everything.
    """
    info = builder.info
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD, override=True)
    info.set_splits(tfds.core.SplitDict(done.infos))
    measured = {split: moments for split, moments in done.moments.items() if moments.pixels}
    if info.metadata and "sensor" in info.metadata and measured:
        sensor = Sensor.from_dict(info.metadata["sensor"])
        if not sensor.measured:
            over = measured.get("train") or sum(measured.values(), Moments())
            info.metadata["sensor"] = sensor.with_statistics(
                over.mean.tolist(), over.std.tolist()
            ).to_dict()
    info.write_to_directory(folder)
    statistics = {
        split: {"pixels": m.pixels, "mean": m.mean.tolist(), "std": m.std.tolist()}
        for split, m in measured.items()
    }
    (folder / "statistics.json").write_text(json.dumps(statistics, indent=1))
    if done.skipped:
        (folder / "skipped.txt").write_text("".join(f"{line}\n" for line in done.skipped))


@contextlib.contextmanager
def report_full_disk(
    folder: Path, writers: Mapping[str, SplitWriter] | None = None
) -> Iterator[None]:
    """Tell a full disk in a line.

    Args:
        folder: on that disk.
        writers: of the splits, which know how far they have come.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # array_record says it with a RuntimeError
        if not os_error_reason(error, FULL):
            raise
        after = ""
        if writers:
            examples = sum(writer.examples for writer in writers.values())
            written = sum(writer.bytes for writer in writers.values())
            after = f" after {examples:,} examples ({decimal(written)})"
        raise UserError(
            f"folder {folder.parent}: the disk is full{after}; expected room for the whole "
            "dataset; nothing is left of it"
        ) from error


def _outcomes(
    builder: tfds.core.DatasetBuilder, name: str, splits: Splits, workers: int
) -> Iterator[ItemResult]:
    encoder = Encoder(builder.info.features)
    for reading in unique_readings(splits):
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


def expected_bytes(builder: tfds.core.DatasetBuilder, splits: Splits) -> int | None:
    """About how large the dataset will be; None where nobody knows."""
    total = _expected(builder, splits)
    arrays = [
        feature
        for feature in builder.info.features.values()
        if type(feature) is tfds.features.Tensor and None not in feature.shape
    ]
    size = sum(
        int(np.prod(feature.shape)) * np.dtype(feature.np_dtype).itemsize for feature in arrays
    )
    return None if total is None else total * size


def _expected(builder: tfds.core.DatasetBuilder, splits: Splits) -> int | None:
    """How many examples the dataset will have; None where nobody knows."""
    expected = {
        split: number for r in unique_readings(splits) for split, number in r.expected.items()
    }
    own = getattr(builder, "expected_examples", {}).items()
    expected |= {split: n for split, n in own if not isinstance(splits.get(split), Examples)}
    known = [expected.get(split) for split in splits]
    return None if None in known else sum(number or 0 for number in known)


def _check_space(folder: Path, size: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if size is not None and size > free:
        raise UserError(
            f"folder {folder.parent}: the dataset takes {decimal(size)}, and {decimal(free)} are "
            "free; expected room for all of it"
        )
