"""A dataset of images with masks: its grid of cells, what there is to read, and its description."""

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

# Cells on a side of a window: more of them, each a record, would take long to put together.
_MOST_CELLS = 16


def make_grid(window: int, stride: int) -> WindowGrid:
    """The grid for a window and a stride of a config, in pixels.

    Raises:
        UserError: such windows would leave gaps, or would be put together from far too many cells.
    """
    if not 0 < stride <= window:
        raise UserError(
            f"--config.stride: found {stride} with a window of {window}; expected 1 to the window"
        )
    grid = WindowGrid.from_pixels(window, stride)
    if grid.window > _MOST_CELLS:
        raise UserError(
            f"--config.stride: found {stride} with a window of {window}, which share cells of "
            f"{grid.block} × {grid.block} pixels; expected a stride that has more in common with "
            f"the window, such as {window // 2 if window % 2 == 0 else window}"
        )
    return grid


def make_reading(pictures: Iterable[MaskedImage | Unreadable], reader: BlockReader) -> Reading[Any]:
    """All cells of pictures. What can be seen to be wrong before reading pixels comes first."""
    bad: list[Unreadable] = []
    strips: list[Strip] = []
    pixels: dict[str, list[tuple[int, int]]] = {}
    for picture in pictures:
        sizes = pixels.setdefault(picture.split, [])
        if isinstance(picture, Unreadable):
            bad.append(picture)
            continue
        try:
            size = reader.size(picture)
        except UserError as error_message:
            bad.append(Unreadable(picture.split, str(error_message)))
        else:
            sizes.append(size)
            strips += reader.strips(picture, size)
    expected: dict[str, int | None] = {}
    found = [(f"{len(bad):,} that can't be read", bad[0].error_message)] if bad else []
    grid = reader.grid
    side = grid.window * grid.block
    for split, sizes in pixels.items():
        blocks = sum(grid.blocks(height) * grid.blocks(width) for height, width in sizes)
        windows = sum(grid.count(height) * grid.count(width) for height, width in sizes)
        expected[split] = None if any(one.split == split for one in bad) else blocks
        found.append((split, f"{_counted(len(sizes), 'picture')}, {_counted(windows, 'window')} "
                             f"of {side} × {side} pixels"))  # fmt: skip
    return Reading([*bad, *strips], reader, expected, found, chunk=1)


def make_dataset_info(
    builder: tfds.core.DatasetBuilder,
    reader: BlockReader,
    sensor: Sensor,
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    choices: Mapping[str, Any],
    homepage: str = "",
) -> tfds.core.DatasetInfo:
    """What TFDS is to know of a dataset of cells.

    Args:
        builder: of the dataset.
        reader: of its cells.
        sensor: of its images.
        classes: names.
        colours: red, green, blue of each class.
        choices: what else is to be kept in the metadata, as JSON can hold it.
        homepage: of the dataset.
    """
    block, encoding = reader.grid.block, tfds.features.Encoding.BYTES
    return tfds.core.DatasetInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(
                    shape=(block, block, reader.bands),
                    dtype=np.dtype(reader.dtype),
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
                **choices,
            }
        ),
        homepage=homepage or None,
    )


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"
