"""Datasets of images with masks: the grid of blocks, the reading, and TFDS's description."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.bands import Sensor
from data_pipelines.errors import UserError
from data_pipelines.masked_images.blocks import BlockReader, MaskedImage, Strip
from data_pipelines.masked_images.legends import IGNORE_LABEL
from data_pipelines.reading import Reading, Unreadable
from data_pipelines.sources.windows import WindowGrid

__all__ = ["make_dataset_info", "make_grid", "make_reading"]

# Limit on the blocks on a side of a window: each is a record, and joining many records is slow.
_MAX_WINDOW_BLOCKS = 16


def make_grid(window: int, stride: int) -> WindowGrid:
    """Make the grid for the window and the stride of a config.

    Args:
        window: Side of a window, in pixels.
        stride: Distance from one window to the next, in pixels.

    Raises:
        UserError: If the windows would leave gaps, or would be joined from too many blocks.
    """
    if not 0 < stride <= window:
        raise UserError(
            f"--config.stride: found {stride} with a window of {window}; expected 1 to the window"
        )
    grid = WindowGrid.from_pixels(window, stride)
    if grid.window > _MAX_WINDOW_BLOCKS:
        raise UserError(
            f"--config.stride: found {stride} with a window of {window}, which share blocks of "
            f"{grid.block} × {grid.block} pixels; expected a stride with a larger common divisor "
            f"with the window, such as {window // 2 if window % 2 == 0 else window}"
        )
    return grid


def make_reading(
    sources: Iterable[MaskedImage | Unreadable],
    reader: BlockReader,
    found: Iterable[tuple[str, str]] = (),
) -> Reading[Any]:
    """Make the reading of all blocks of images.

    Images whose headers are invalid come first, so that their errors precede the reading of pixels.

    Args:
        sources: The images.
        reader: The reader of the images' blocks.
        found: (subject, details) pairs about the files, for the user.
    """
    unreadable: list[Unreadable] = []
    strips: list[Strip] = []
    split_sizes: dict[str, list[tuple[int, int]]] = {}
    for source in sources:
        sizes = split_sizes.setdefault(source.split, [])
        if isinstance(source, Unreadable):
            unreadable.append(source)
            continue
        try:
            size = reader.read_header(source).size
        except UserError as error:
            unreadable.append(Unreadable(source.split, str(error)))
        else:
            sizes.append(size)
            strips += reader.make_strips(source, size)
    expected: dict[str, int | None] = {}
    summary = [*found]
    if unreadable:
        summary.append((f"{len(unreadable):,} unreadable", unreadable[0].error_message))
    grid = reader.grid
    side = grid.window * grid.block
    for split, sizes in split_sizes.items():
        blocks = sum(grid.count_blocks(h) * grid.count_blocks(w) for h, w in sizes)
        windows = sum(grid.count_windows(h) * grid.count_windows(w) for h, w in sizes)
        expected[split] = None if any(item.split == split for item in unreadable) else blocks
        counts = f"{_format_count(len(sizes), 'image')}, {_format_count(windows, 'window')}"
        summary.append((split, f"{counts} of {side} × {side} pixels"))
    num_pixels = sum(height * width for sizes in split_sizes.values() for height, width in sizes)
    return Reading([*unreadable, *strips], reader, expected, summary, 1, num_pixels)


def make_dataset_info(
    builder: tfds.core.DatasetBuilder,
    reader: BlockReader,
    sensor: Sensor,
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    metadata: Mapping[str, Any],
    homepage: str = "",
) -> tfds.core.DatasetInfo:
    """Make TFDS's description of a dataset of blocks.

    Args:
        builder: Builder of the dataset, whose docstring is the description.
        reader: Reader of the blocks.
        sensor: Sensor of the images.
        classes: Names of the classes.
        colours: Red, green, blue of each class.
        metadata: Further metadata, in JSON types.
        homepage: URL of the dataset.
    """
    block, encoding = reader.grid.block, tfds.features.Encoding.BYTES
    return tfds.core.DatasetInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(
                    shape=(block, block, len(reader.pixels.bands)),
                    dtype=np.dtype(reader.pixels.stored_dtype),
                    encoding=encoding,
                ),
                "mask": tfds.features.Tensor(
                    shape=(block, block), dtype=np.uint8, encoding=encoding
                ),
                "inside": tfds.features.Tensor(shape=(2,), dtype=np.int32),
                "id": tfds.features.Text(),
            }
        ),
        metadata=tfds.core.MetadataDict(
            {
                "sensor": sensor.to_dict(),
                "classes": list(classes),
                "colours": [list(colour) for colour in colours],
                "ignore_label": IGNORE_LABEL,
                "windows": reader.grid.to_dict(),
                **({"nodata": 0} if reader.pixels.has_nodata else {}),
                **metadata,
            }
        ),
        homepage=homepage or None,
    )


def _format_count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
