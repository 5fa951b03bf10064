"""Apache Beam in place of processes of one machine; needs the extra `[beam]`.

The items of a reading are spread over the runner's workers, which see the user's files and the
dataset's folder under the same paths. Builders that are written for Beam themselves run as they
are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.split_builder import SplitBuilder
from tensorflow_datasets.core.writer import ExampleWriter

from data_pipelines.errors import UserError
from data_pipelines.prepare import Splits, readings
from data_pipelines.reading import Examples, Reading

__all__ = ["prepare_with_beam"]

# What a bad item is passed on as, on its way to the list of skipped ones.
_MISTAKE = "\0mistake"


def prepare_with_beam(
    builder: tfds.core.DatasetBuilder,
    splits: Splits,
    folder: Path,
    runner: str,
    options: Sequence[str],
    writer: ExampleWriter,
    skip: bool,
) -> tuple[list[tfds.core.SplitInfo], list[str]]:
    """Write all splits with a Beam runner.

    Args:
        builder: the TFDS builder.
        splits: what its `_split_generators` returned.
        folder: where to write.
        runner: such as `DirectRunner`, `DataflowRunner`, `FlinkRunner`, `SparkRunner`.
        options: Beam's own, such as `--project=P`.
        writer: of a shard.
        skip: leave bad items out.

    Returns:
        The splits, and what was wrong with each item left out.

    Raises:
        UserError: Beam isn't installed, or an item is bad.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(
            "--beam_runner: Apache Beam isn't installed; pip install 'ssl_jax[beam]'"
        ) from error
    split_builder = SplitBuilder(
        split_dict=tfds.core.SplitDict([]),
        features=builder.info.features,
        dataset_size=builder.info.dataset_size,
        beam_options=PipelineOptions(list(options)),
        beam_runner=runner,
        max_examples_per_split=None,
        example_writer=writer,
    )
    mistakes = folder / "mistakes"
    try:
        with split_builder.maybe_beam_pipeline():
            spread: dict[int, Any] = {}
            for number, reading in enumerate(readings(splits)):
                outcomes = (
                    split_builder.beam_pipeline
                    | f"Reading{number}" >> beam.Create([reading])
                    | f"Items{number}" >> beam.FlatMap(_items)
                    | f"Spread{number}" >> beam.Reshuffle()
                    | f"Read{number}" >> beam.FlatMap(_read, reading.read, skip)
                )
                spread[id(reading)] = outcomes
                _ = (
                    outcomes
                    | f"Bad{number}" >> beam.Filter(_is_of, _MISTAKE)
                    | f"Say{number}" >> beam.Map(_message)
                    | f"List{number}" >> beam.io.WriteToText(str(mistakes), f".{number}.txt")
                )
            futures = []
            for split, examples in splits.items():
                source: Any = examples
                if isinstance(examples, Examples):
                    source = (
                        spread[id(examples.reading)]
                        | f"Of_{split}" >> beam.Filter(_is_of, split)
                        | f"Pairs_{split}" >> beam.Map(_pair)
                    )
                futures.append(
                    split_builder.submit_split_generation(
                        split_name=split,
                        generator=source,
                        filename_template=tfds.core.ShardedFileTemplate(
                            dataset_name=builder.name,
                            data_dir=folder,
                            filetype_suffix="array_record",
                            split=split,
                        ),
                        disable_shuffling=False,
                        nondeterministic_order=False,
                    )
                )
        infos = [future.result() for future in futures]
    except UserError as error:  # Beam adds where it happened
        raise UserError(str(error).partition(" [while running")[0]) from error
    files = sorted(folder.glob("mistakes*.txt"))
    skipped = [line for file in files for line in file.read_text().splitlines()]
    for file in files:
        file.unlink()
    return [info for info in infos if info.num_examples], skipped


def _items(reading: Reading[Any]) -> Iterator[Any]:
    return iter(reading.items)


def _read(item: Any, read: Any, skip: bool) -> Iterator[tuple[str, Any, Any]]:
    try:
        for key, example in list(read(item)):
            yield item.split, key, example
    except UserError as mistake:
        if not skip:
            raise
        yield _MISTAKE, str(mistake), None


def _is_of(outcome: tuple[str, Any, Any], split: str) -> bool:
    return outcome[0] == split


def _message(outcome: tuple[str, Any, Any]) -> str:
    return str(outcome[1])


def _pair(outcome: tuple[str, Any, Any]) -> tuple[Any, Any]:
    return outcome[1], outcome[2]
