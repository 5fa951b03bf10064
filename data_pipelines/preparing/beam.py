"""Preparation with Apache Beam instead of worker processes; needs the extra `[beam]`.

Items are distributed over the runner's workers, which must see the user's files and the dataset's
folder under the same paths. Each worker writes complete shards, and beside each a description that
is kept until all shards are written. Builders written for Beam itself, whose splits are
`PTransform`s, are supported as well.
"""

import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.preparing.encoding import Encoder, ItemResult, ReadAndEncode, StoredRecord
from data_pipelines.preparing.prepare import (
    PreparationResult,
    Splits,
    collect_readings,
    estimate_bytes,
)
from data_pipelines.preparing.shards import SHARD_BYTES, SplitWriter, WrittenSplit, assemble_split
from data_pipelines.reading import Examples, Reading
from data_pipelines.sources.catalogue import catalogue_columns

__all__ = ["prepare_with_beam"]

# Number of shards of a dataset of unknown size.
_DEFAULT_SHARDS = 64


def prepare_with_beam(
    builder: tfds.core.DatasetBuilder,
    splits: Splits,
    folder: Path,
    runner: str,
    options: Sequence[str],
    skip: bool,
) -> PreparationResult:
    """Read all examples and write them below `folder`, with a Beam runner.

    Args:
        builder: The TFDS builder.
        splits: The splits that its `_split_generators` returned.
        folder: An empty folder.
        runner: Such as `DirectRunner`, `DataflowRunner`, `FlinkRunner`, `SparkRunner`.
        options: Beam's pipeline options, such as `--project=P`.
        skip: Whether to skip invalid items, instead of stopping at the first one.

    Raises:
        UserError: If Beam isn't installed, or an item is invalid.
    """
    new_pipeline = _make_pipeline(runner, options)
    import apache_beam as beam

    size = estimate_bytes(builder, splits)
    num_shards = _DEFAULT_SHARDS if size is None else 1 + size // SHARD_BYTES
    parts, errors = folder / "parts", folder / "errors"
    parts.mkdir()
    try:
        with new_pipeline as pipeline:
            collections = _read_and_encode(pipeline, splits, Encoder(builder.info))
            results = collections | beam.Flatten()
            item_errors = results | "ItemErrors" >> beam.FlatMap(_collect_errors, skip)
            columns = catalogue_columns(builder.info)
            duplicate_errors = (
                results
                | "Shard" >> beam.FlatMap(_assign_shards, num_shards)
                | "Gather" >> beam.GroupByKey()
                | "Write" >> beam.FlatMap(_write_shard, parts, columns, skip)
            )
            all_errors = (item_errors, duplicate_errors) | "AllErrors" >> beam.Flatten()
            _ = all_errors | beam.io.WriteToText(str(errors))
    except UserError as error:  # Beam appends the name of the step
        raise UserError(str(error).partition(" [while running")[0]) from error
    result = PreparationResult()
    written = [WrittenSplit.load(part) for part in sorted(parts.iterdir())]
    for split in splits:
        if split_parts := [part for part in written if part.split == split]:
            result.add(split, *assemble_split(builder.name, folder, split_parts))
    shutil.rmtree(parts)
    for file in sorted(folder.glob("errors*")):
        result.skipped += file.read_text().splitlines()
        file.unlink()
    result.check(builder.name)
    return result


def _make_pipeline(runner: str, options: Sequence[str]) -> Any:
    """Create an empty Beam pipeline.

    Raises:
        UserError: If Beam isn't installed, or has no such runner.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions, TypeOptions
    except ImportError as error:
        raise UserError(
            "--beam_runner: Apache Beam isn't installed; pip install 'ssl_jax[beam]'"
        ) from error
    pipeline_options = PipelineOptions(list(options))
    pipeline_options.view_as(TypeOptions).pipeline_type_check = False
    try:
        return beam.Pipeline(runner=runner, options=pipeline_options)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"--beam_runner: found {runner!r} ({error})") from error


def _read_and_encode(pipeline: Any, splits: Splits, encoder: Encoder) -> list[Any]:
    """Return the results of all items as Beam collections.

    Raises:
        UserError: If a split is neither of a reading nor a transform.
    """
    import apache_beam as beam

    collections = [
        pipeline
        | f"Reading{number}" >> beam.Create([reading])
        | f"Items{number}" >> beam.FlatMap(_list_items)
        | f"Spread{number}" >> beam.Reshuffle()
        | f"Read{number}" >> beam.Map(ReadAndEncode(reading.read, encoder))
        for number, reading in enumerate(collect_readings(splits))
    ]
    for split, examples in splits.items():
        if isinstance(examples, Examples):
            continue
        if not isinstance(examples, beam.PTransform):
            raise UserError(
                f"split {split}: found a generator, which only a single process can run; expected "
                "a Reading or a PTransform, or no --beam_runner"
            )
        collections.append(
            pipeline
            | f"Examples_{split}" >> examples
            | f"Encode_{split}" >> beam.Map(_encode, split, encoder)
        )
    return collections


def _list_items(reading: Reading[Any]) -> Iterator[Any]:
    return iter(reading.items)


def _encode(pair: tuple[Any, Any], split: str, encoder: Encoder) -> ItemResult:
    return ItemResult(split, (encoder(*pair),), "")


def _collect_errors(result: ItemResult, skip: bool) -> Iterator[str]:
    if result.error_message:
        if not skip:
            raise UserError(result.error_message)
        yield result.error_message


def _assign_shards(
    result: ItemResult, num_shards: int
) -> Iterator[tuple[tuple[str, int], StoredRecord]]:
    """Yield each record with its (split, shard index), which depends on nothing but its key."""
    for record in result.records:
        yield (result.split, zlib.crc32(str(record.key).encode()) % num_shards), record


def _write_shard(
    shard: tuple[tuple[str, int], Iterable[StoredRecord]],
    parts: Path,
    columns: Sequence[str],
    skip: bool,
) -> Iterator[str]:
    """Write a shard's records, sorted by key, and yield an error message for each skipped one.

    If a worker dies, another one writes the same shard again.
    """
    (split, number), records = shard
    folder = parts / f"{split}-{number:05}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    writer = SplitWriter(folder, split, columns)
    for record in sorted(records, key=lambda record: record.key):
        if error_message := writer.find_duplicate((record,)):
            if not skip:
                raise UserError(error_message)
            yield error_message
        else:
            writer.write(record)
    written = writer.finish()
    assert written is not None
    written.save(folder)
