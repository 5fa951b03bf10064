"""Finished blocks of a map, each layer in a file that is complete or doesn't exist."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rasterio import Affine
from rasterio.io import MemoryFile

from data_pipelines.errors import FULL, UserError
from data_pipelines.files.writing import replace_when_written
from ssl_jax.maps.layers import NODATA

__all__ = ["Block", "block_path", "explain_write_error", "find_complete_blocks", "write_block"]

_NAME = re.compile(r"(\d+)_(\d+)_(\d+)_(\d+)\.tif")
_TILE = 256
# rasterio warns of files without a transform, and of this one with sides of 1.
_NO_PLACE = Affine.scale(2, -2)
_OPTIONS = {"driver": "GTiff", "count": 1, "dtype": "uint8", "compress": "deflate"}


class Block(NamedTuple):
    """A rectangle of a map.

    Attributes:
        top: Row of its upper edge, in pixels.
        left: Column of its left edge.
        height: Height, in pixels.
        width: Width, in pixels.
    """

    top: int
    left: int
    height: int
    width: int


def write_block(folder: Path, block: Block, layers: Mapping[str, np.ndarray]) -> None:
    """Write a finished block.

    Args:
        folder: The folder of blocks.
        block: The block.
        layers: Its (height, width) uint8 numbers by name of the layer.

    Raises:
        UserError: If the disk is full or can't be written.
        ValueError: If an array isn't of the block's size and uint8.
    """
    for name, numbers in layers.items():
        if numbers.shape != (block.height, block.width) or numbers.dtype != np.uint8:
            raise ValueError(
                f"layer {name}: found {numbers.dtype} {numbers.shape} for {block}; expected uint8"
            )
        # GDAL doesn't tell of every failure to write to a disk; Python does.
        content = _encode(numbers)
        path = block_path(folder, name, block)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_when_written(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise explain_write_error(folder, error) from error


def find_complete_blocks(folder: Path, layers: Sequence[str]) -> set[Block]:
    """Find the blocks of which all layers have been written.

    Args:
        folder: The folder of blocks; it need not exist.
        layers: Names of the layers.
    """
    return set.intersection(*(_list_blocks(folder / name) for name in layers))


def block_path(folder: Path, layer: str, block: Block) -> Path:
    """Return the path of the file of a layer of a block."""
    return folder / layer / f"{'_'.join(map(str, block))}.tif"


def explain_write_error(folder: Path, error: OSError) -> UserError:
    """Return the error to raise if a map can't be written.

    Args:
        folder: The folder that it is written to.
        error: What the operating system says.
    """
    if error.errno in FULL:
        return UserError(
            f"folder {folder}: the disk is full ({error.strerror}); make room and give the same "
            "command again: it goes on from the blocks that are finished"
        )
    return UserError(f"folder {folder}: can't be written ({error.strerror}); expected a folder "
                     "that this user may write to")  # fmt: skip


def _list_blocks(folder: Path) -> set[Block]:
    if not folder.is_dir():
        return set()
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return {Block(*map(int, match.groups())) for match in matches if match}


def _encode(numbers: np.ndarray) -> bytes:
    """Return numbers as a GeoTIFF without place."""
    if min(numbers.shape) >= _TILE:
        tiling = {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE}
    else:
        tiling = {}
    height, width = numbers.shape
    with MemoryFile() as file:
        with file.open(
            **_OPTIONS, **tiling, height=height, width=width, nodata=NODATA, transform=_NO_PLACE
        ) as raster:
            raster.write(numbers, 1)
        return bytes(file.getbuffer())
