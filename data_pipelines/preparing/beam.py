"""Apache Beam in place of processes of one machine; needs the extra `[beam]`.

Items are spread over the runner's workers, which must see the user's files and the dataset's folder
under the same paths. Each worker writes whole shards; what it knows of them lies beside them until
all are written. A builder that is written for Beam itself, whose splits are `PTransform`s, is
served as well.
"""

import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.errors import UserError
from data_pipelines.preparing.encoding import Encoder, ItemResult, ReadAndEncode, StoredRecord
from data_pipelines.preparing.prepare import Preparation, Splits, expected_bytes, unique_readings
from data_pipelines.preparing.shards import SHARD_BYTES, SplitWriter, WrittenSplit, assemble
from data_pipelines.reading import Examples, Reading
from data_pipelines.sources.catalogue import small_features

__all__ = ["prepare_with_beam"]

# Shards of a dataset of which nobody knows how large it will be.
_SHARDS = 64


def prepare_with_beam(
    builder: tfds.core.DatasetBuilder,
    splits: Splits,
    folder: Path,
    runner: str,
    options: Sequence[str],
    skip: bool,
) -> Preparation:
    """Read all examples and write them below `folder`, by a Beam runner.

    Args:
        builder: the TFDS builder.
        splits: what its `_split_generators` returned.
        folder: an empty one.
        runner: such as `DirectRunner`, `DataflowRunner`, `FlinkRunner`, `SparkRunner`.
        options: Beam's own, such as `--project=P`.
        skip: leave bad items out, rather than stop at the first one.

    Raises:
        UserError: Beam isn't installed, or an item is bad.
    """
    created = _pipeline(runner, options)
    import apache_beam as beam

    size = expected_bytes(builder, splits)
    shards = _SHARDS if size is None else 1 + size // SHARD_BYTES
    parts, mistakes = folder / "parts", folder / "mistakes"
    parts.mkdir()
    try:
        with created as pipeline:
            outcomes = _outcomes(pipeline, splits, Encoder(builder.info.features))
            together = outcomes | beam.Flatten()
            bad = together | "Bad" >> beam.FlatMap(_mistakes, skip)
            columns = tuple(small_features(builder.info.features))
            twice = (
                together
                | "Shard" >> beam.FlatMap(_sharded, shards)
                | "Gather" >> beam.GroupByKey()
                | "Write" >> beam.FlatMap(_write, parts, columns, skip)
            )
            _ = (bad, twice) | "All" >> beam.Flatten() | beam.io.WriteToText(str(mistakes))
    except UserError as error:  # Beam adds where it happened
        raise UserError(str(error).partition(" [while running")[0]) from error
    done = Preparation()
    written = [WrittenSplit.load(part) for part in sorted(parts.iterdir())]
    for split in splits:
        if of_split := [part for part in written if part.split == split]:
            info, done.moments[split] = assemble(builder.name, folder, of_split)
            done.infos.append(info)
    shutil.rmtree(parts)
    for file in sorted(folder.glob("mistakes*")):
        done.skipped += file.read_text().splitlines()
        file.unlink()
    done.check(builder.name)
    return done


def _pipeline(runner: str, options: Sequence[str]) -> Any:
    """An empty pipeline of Beam's.

    Raises:
        UserError: Beam isn't installed, or has no such runner.
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


def _outcomes(pipeline: Any, splits: Splits, encoder: Encoder) -> list[Any]:
    """The outcomes of all items, as collections of Beam.

    Raises:
        UserError: a split is of neither a reading nor a transform.
    """
    import apache_beam as beam

    outcomes = [
        pipeline
        | f"Reading{number}" >> beam.Create([reading])
        | f"Items{number}" >> beam.FlatMap(_items)
        | f"Spread{number}" >> beam.Reshuffle()
        | f"Read{number}" >> beam.Map(ReadAndEncode(reading.read, encoder))
        for number, reading in enumerate(unique_readings(splits))
    ]
    for split, examples in splits.items():
        if isinstance(examples, Examples):
            continue
        if not isinstance(examples, beam.PTransform):
            raise UserError(
                f"split {split}: comes from a generator, which one process must run; expected a "
                "Reading or a PTransform, or no --beam_runner"
            )
        outcomes.append(
            pipeline
            | f"Examples_{split}" >> examples
            | f"Encode_{split}" >> beam.Map(_encoded, split, encoder)
        )
    return outcomes


def _items(reading: Reading[Any]) -> Iterator[Any]:
    return iter(reading.items)


def _encoded(pair: tuple[Any, Any], split: str, encoder: Encoder) -> ItemResult:
    return ItemResult(split, (encoder(*pair),), "")


def _mistakes(outcome: ItemResult, skip: bool) -> Iterator[str]:
    if outcome.error_message:
        if not skip:
            raise UserError(outcome.error_message)
        yield outcome.error_message


def _sharded(outcome: ItemResult, shards: int) -> Iterator[tuple[tuple[str, int], StoredRecord]]:
    """Each record with the shard that its key, and nothing else, puts it in."""
    for record in outcome.records:
        yield (outcome.split, zlib.crc32(str(record.key).encode()) % shards), record


def _write(
    shard: tuple[tuple[str, int], Iterable[StoredRecord]],
    parts: Path,
    columns: Sequence[str],
    skip: bool,
) -> Iterator[str]:
    """Write a shard's records in the order of their keys; yields what is wrong with those left out.

    A worker that died is replaced by another, which begins the same shard anew.
    """
    (split, number), records = shard
    folder = parts / f"{split}-{number:05}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    writer = SplitWriter(folder, split, columns)
    for record in sorted(records, key=lambda record: record.key):
        if twice := writer.duplicate((record,)):
            if not skip:
                raise UserError(twice)
            yield twice
        else:
            writer.write(record)
    written = writer.finish()
    assert written is not None
    written.save(folder)
