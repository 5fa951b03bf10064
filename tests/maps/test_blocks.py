"""Finished blocks: complete or not there."""

import errno
from pathlib import Path

import numpy as np
import pytest
import rasterio

from data_pipelines.errors import UserError
from ssl_jax.maps.blocks import Block, block_path, find_complete_blocks, write_block

A, B = Block(0, 0, 300, 7), Block(300, 0, 1, 1)
LAYERS = ("classes", "confidence")


def numbers(block, value=3):
    return np.full((block.height, block.width), value, np.uint8)


@pytest.mark.parametrize("block", [A, B, Block(5, 9, 512, 700)])
def test_a_block_is_stored_as_a_geotiff(block, tmp_path):
    expected = np.random.default_rng(0).integers(0, 256, numbers(block).shape).astype(np.uint8)
    write_block(tmp_path, block, {"classes": expected})
    with rasterio.open(block_path(tmp_path, "classes", block)) as raster:
        assert raster.nodata == 255
        assert raster.profile["compress"] == "deflate"
        np.testing.assert_array_equal(raster.read(1), expected)


def test_a_block_counts_when_all_its_layers_are_there(tmp_path):
    assert find_complete_blocks(tmp_path / "none", LAYERS) == set()
    write_block(tmp_path, A, {name: numbers(A) for name in LAYERS})
    write_block(tmp_path, B, {"classes": numbers(B)})
    block_path(tmp_path, "confidence", B).with_name(
        ".300_0_1_1.tif.77"
    ).touch()  # of a dead process
    assert find_complete_blocks(tmp_path, LAYERS) == {A}
    assert find_complete_blocks(tmp_path, LAYERS[:1]) == {A, B}


def test_a_block_of_another_size_or_dtype_is_a_mistake(tmp_path):
    for wrong in (numbers(B), numbers(A).astype(np.int64)):
        with pytest.raises(ValueError, match=r"layer classes: found .* expected uint8"):
            write_block(tmp_path, A, {"classes": wrong})


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full .*; make room and give the same command again"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "can't be written .*Read-only"),
    ],
)
def test_a_disk_that_fails_is_told_and_leaves_no_half_block(number, message, tmp_path, monkeypatch):
    def fail(path, content):
        path.touch()
        raise OSError(number, errno.errorcode[number] if number != errno.EROFS else "Read-only")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match=message):
        write_block(tmp_path, A, {"classes": numbers(A)})
    assert list((tmp_path / "classes").iterdir()) == []
