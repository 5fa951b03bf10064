"""Maps: Cloud Optimized GeoTIFFs, placed as the scene, with names and colours of classes."""

import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS
from rio_cogeo.cogeo import cog_validate

from data_pipelines.errors import UserError
from data_pipelines.imagery.georeferences import NO_PLACE, Georeference
from ssl_jax.maps import mosaic
from ssl_jax.maps.blocks import Block, block_path, write_block
from ssl_jax.maps.layers import CONFIDENCE, make_class_layer
from ssl_jax.maps.mosaic import assemble_layer

NAMES = ("water", "forêt & <prairie>", "built-up")
CLASSES = make_class_layer(NAMES, [(10, 20, 230), (), (200, 30, 40)])
UTM = Georeference(CRS.from_epsg(32632), Affine(10, 0, 500_000, 0, -10, 5_900_000))
ALBERS = "+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +datum=NAD83 +units=us-ft"
GCPS = tuple((r, c, 9 + c / 777, 48 - r / 3333, 0.0) for r, c in ((0, 0), (0, 9), (9, 0), (9, 9)))
PLACES = {
    "north-up": UTM,
    "south-up": Georeference(UTM.crs, Affine(10, 0, 500_000, 0, 10, 5_900_000)),
    "rotated": Georeference(UTM.crs, Affine(8.1, 5, 500_000, 5, -8.3, 5_900_000)),
    "not square": Georeference(CRS.from_epsg(3857), Affine(0.3, 0, 1e6 / 3, 0, -1 / 7, 6e6)),
    "degrees": Georeference(CRS.from_epsg(4326), Affine(1e-4, 0, 10 / 3, 0, -1e-4, 48)),
    "own system": Georeference(CRS.from_proj4(ALBERS), Affine(30, 0, 1e5, 0, -30, 2e6)),
    "control points": Georeference(CRS.from_epsg(4326), None, GCPS),
    "only coordinates": Georeference(None, Affine(10, 0, 5, 0, -10, 7)),
    "only a system": Georeference(UTM.crs),
    "none": NO_PLACE,
}


def make_classes(height, width, seed=0):
    """Make (height, width) classes in patches, with pixels without data."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height // 9 + 1, width // 9 + 1))
    return coarse.repeat(9, 0).repeat(9, 1)[:height, :width]


def cut(size, block_height, block_width):
    return [
        Block(top, left, min(block_height, size[0] - top), min(block_width, size[1] - left))
        for top in range(0, size[0], block_height)
        for left in range(0, size[1], block_width)
    ]


def assemble(folder, numbers, layer=CLASSES, place=UTM, block=(100, 130), threads=0, tags=None):
    """Write a map by way of blocks; returns its path."""
    blocks = cut(numbers.shape, *block)
    for b in blocks:
        part = numbers[b.top : b.top + b.height, b.left : b.left + b.width]
        write_block(folder / ".blocks", b, {layer.name: part})
    target = folder / f"{layer.name}.tif"
    assemble_layer(
        folder / ".blocks", layer, blocks, numbers.shape, place, target, tags or {}, threads
    )
    return target


@settings(max_examples=8)
@given(data=st.data())
def test_any_size_and_any_blocks_give_a_valid_file_with_all_pixels(data, tmp_path_factory):
    size = data.draw(st.sampled_from([(1, 1), (31, 700), (511, 512), (513, 514), (127, 1031)]))
    block = data.draw(st.tuples(st.integers(30, 600), st.integers(50, 1100)))
    numbers = make_classes(*size)
    path = assemble(tmp_path_factory.mktemp("map"), numbers, block=block)
    is_valid, errors, warnings = cog_validate(path, strict=True)
    assert (is_valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), numbers)
        assert (raster.dtypes, raster.nodata) == (("uint8",), 255)
        assert bool(raster.overviews(1)) == (max(size) > 512)


@pytest.mark.parametrize("layer", [CLASSES, CONFIDENCE], ids=lambda layer: layer.name)
def test_the_bytes_depend_on_the_pixels_alone(layer, tmp_path):
    numbers = make_classes(900, 1100)
    if layer is CONFIDENCE:
        noise = np.random.default_rng(1).integers(0, 101, numbers.shape).astype(np.uint8)
        numbers = np.where(numbers == 255, 255, noise)
    variants = [((100, 130), 1), ((900, 1100), 2), ((311, 77), 5)]
    contents = set()
    for index, (block, threads) in enumerate(variants):
        folder = tmp_path / str(index)
        path = assemble(folder, numbers, layer, block=block, threads=threads)
        contents.add(b"".join(file.read_bytes() for file in sorted(folder.glob(f"{path.name}*"))))
    assert len(contents) == 1


@pytest.mark.parametrize("kind", PLACES)
def test_a_map_lies_where_its_scene_lies(kind, tmp_path):
    expected = PLACES[kind]
    path = assemble(tmp_path, make_classes(600, 520), place=expected)
    assert cog_validate(path)[0]
    with rasterio.open(path) as raster:
        found = Georeference.of(raster)
    assert found.crs == expected.crs
    assert found.transform == expected.transform
    np.testing.assert_array_equal(found.gcps, expected.gcps)


def test_names_and_colours_are_where_programs_look_for_them(tmp_path):
    path = assemble(tmp_path, make_classes(600, 700), tags={"MODEL": "abc <1>"})
    with rasterio.open(path) as raster:
        colours = raster.colormap(1)
        tags = raster.tags()
        assert raster.colorinterp[0].name == "palette"
    assert [colours[number] for number in range(3)] == [(*c, 255) for c in CLASSES.colours]
    assert colours[0][:3] == (10, 20, 230)
    assert colours[255][3] == 0  # transparent
    assert [tags[f"CLASS_{number}"] for number in range(3)] == list(NAMES)
    assert tags["MODEL"] == "abc <1>"
    # GDAL's and QGIS's place for names of classes
    root = ET.parse(f"{path}.aux.xml").getroot()
    assert [name.text for name in root.findall(".//CategoryNames/Category")] == list(NAMES)


def test_overviews_show_the_commonest_class_and_the_mean_confidence(tmp_path):
    numbers = np.zeros((1024, 1024), np.uint8)
    numbers[:, 512:] = 2
    numbers[::2, 1::2] = 1  # a quarter of each 2 × 2 pixels
    numbers[:200] = 255
    numbers[1:200:2, 1:200:2] = 1
    path = assemble(tmp_path, numbers, block=(512, 512))
    with rasterio.open(path, overview_level=0) as raster:
        overview = raster.read(1)
    assert (overview[:100, :100] == 1).all()  # no data has no say where there is some
    assert (overview[:100, 100:] == 255).all()
    assert (overview[100:, :256] == 0).all()
    assert (overview[100:, 256:] == 2).all()
    path = assemble(tmp_path, np.where(numbers == 255, 255, numbers * 40), CONFIDENCE)
    with rasterio.open(path, overview_level=0) as raster:
        overview = raster.read(1)
    assert (overview[100:, :256] == 10).all()
    assert (overview[100:, 256:] == 70).all()
    assert (overview[:100, :100] == 40).all()


def test_blocks_that_leave_a_gap_are_a_mistake(tmp_path):
    block = Block(0, 0, 5, 5)
    write_block(tmp_path, block, {"classes": np.zeros((5, 5), np.uint8)})
    with pytest.raises(ValueError, match="1 blocks don't cover"):
        assemble_layer(tmp_path, CLASSES, [block], (5, 6), UTM, tmp_path / "classes.tif", {})


def test_an_unreadable_block_is_told_and_leaves_the_old_map(tmp_path):
    path = assemble(tmp_path, make_classes(300, 300))
    old = path.read_bytes()
    broken = block_path(tmp_path / ".blocks", "classes", Block(100, 0, 100, 130))
    broken.write_bytes(broken.read_bytes()[:60])
    blocks = cut((300, 300), 100, 130)
    with pytest.raises(UserError, match=r"can't be made of the blocks in .*; delete that folder"):
        assemble_layer(tmp_path / ".blocks", CLASSES, blocks, (300, 300), UTM, path, {})
    assert path.read_bytes() == old


def test_a_disk_that_is_too_small_is_told_before_it_is_full(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(mosaic.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"the disk is full \(0 MB are free, the map takes 1\)"):
        assemble(tmp_path, make_classes(50, 50))
    monkeypatch.undo()
    assert assemble(tmp_path, make_classes(50, 50)).exists()


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_file_that_lacks_its_end_is_found_out(share, tmp_path, monkeypatch):
    """GDAL says nothing if the disk becomes full in its last write."""

    def copy_a_part(source, target, **options):
        rasterio_copy(source, target, **options)
        with open(target, "r+b") as file:
            file.truncate(int(share * file.seek(0, 2)))

    rasterio_copy = rasterio.shutil.copy
    monkeypatch.setattr(mosaic.rasterio.shutil, "copy", copy_a_part)
    noise = np.random.default_rng(0).integers(0, 101, (900, 900)).astype(np.uint8)
    with pytest.raises(UserError, match="the disk is full"):
        assemble(tmp_path, noise, CONFIDENCE)
    assert not (tmp_path / "confidence.tif").exists()
