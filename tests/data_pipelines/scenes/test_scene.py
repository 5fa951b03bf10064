"""Reading of scenes: numbers, pixels without data, and what tells one from another."""

import threading

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from image_mask_files import random_pixels, write
from rasterio import Affine
from rasterio.enums import ColorInterp
from rasterio.env import get_gdal_config

from data_pipelines.bands import NAIP, SENTINEL2_L2A
from data_pipelines.bands.conversion import Conversion
from data_pipelines.errors import UserError
from data_pipelines.profiles.observation import observe
from data_pipelines.scenes import open_scene

BANDS = ("red", "green", "blue", "nir")
S2 = SENTINEL2_L2A.select(BANDS)
FILL = tuple(round(band.mean) for band in S2.bands)
H, W = 37, 53
GAP = np.s_[5:20, 30:]  # the pixels without data
UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 6e5, 0, -10, 5.9e6)}


def write_named(path, pixels, names=BANDS, nodata_of_band=None, **profile):
    write(path, pixels, **{**UTM, **profile})
    with rasterio.open(path, "r+") as raster:
        raster.descriptions = names
    return path


def read(scene):
    window = scene.read(0, 0, scene.height, scene.width)
    return window["image"], window["has_data"]


def declare_value(path, pixels):
    pixels[(slice(None), *GAP)] = 0
    write_named(path, pixels, nodata=0)


def declare_never_measured(path, pixels):
    pixels = pixels.astype(np.int32)
    pixels[(slice(None), *GAP)] = -9999
    write_named(path, pixels, nodata=-9999)


def use_nan(path, pixels):
    pixels = pixels.astype(np.float32)
    pixels[(slice(None), *GAP)] = np.nan
    write_named(path, pixels)


def write_mask(path, pixels, inside):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
        write_named(path, pixels)
        mask = np.ones((H, W), bool)
        mask[GAP] = False
        with rasterio.open(path, "r+") as raster:
            raster.write_mask(mask)


def add_alpha(path, pixels):
    alpha = np.full((1, H, W), 65535, pixels.dtype)
    alpha[(0, *GAP)] = 0
    write_named(path, np.concatenate([pixels, alpha]), (*BANDS, None))
    with rasterio.open(path, "r+") as raster:
        raster.colorinterp = [*raster.colorinterp[:4], ColorInterp.alpha]


def mask_each_band(path, pixels):
    """Write a VRT in which each band has a mask of its own."""
    write_named(path.with_suffix(".tif"), pixels)
    mask = np.full((1, H, W), 255, np.uint8)
    mask[(0, *GAP)] = 0
    write(path.with_name("mask.tif"), mask)
    source = (
        "<SimpleSource><SourceFilename relativeToVRT='1'>{}</SourceFilename>"
        "<SourceBand>{}</SourceBand></SimpleSource>"
    )
    bands = "".join(
        f"<VRTRasterBand dataType='UInt16' band='{i}'><Description>{name}</Description>"
        f"{source.format(path.with_suffix('.tif').name, i)}"
        f"<MaskBand><VRTRasterBand dataType='Byte'>{source.format('mask.tif', 1)}"
        "</VRTRasterBand></MaskBand></VRTRasterBand>"
        for i, name in enumerate(BANDS, 1)
    )
    path.write_text(f"<VRTDataset rasterXSize='{W}' rasterYSize='{H}'>{bands}</VRTDataset>")


KINDS = {
    "value": declare_value,
    "never measured": declare_never_measured,
    "nan": use_nan,
    "internal mask": lambda *args: write_mask(*args, True),
    "mask beside": lambda *args: write_mask(*args, False),
    "alpha": add_alpha,
    "mask of each band": mask_each_band,
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_without_data_are_known_and_filled(kind, tmp_path):
    pixels = random_pixels(0, 4, H, W, np.uint16)
    expected = np.moveaxis(pixels, 0, -1).copy()
    expected[GAP] = FILL
    path = tmp_path / ("scene.vrt" if kind == "mask of each band" else "scene.tif")
    KINDS[kind](path, pixels.copy())
    scene = open_scene(path, S2)
    image, has_data = read(scene)
    is_gap = np.zeros((H, W), bool)
    is_gap[GAP] = True
    np.testing.assert_array_equal(has_data, ~is_gap)
    np.testing.assert_allclose(
        image, expected, atol=0.5
    )  # a float is not filled with a whole number
    assert scene.can_miss


def test_a_band_that_misses_alone_is_filled_alone(tmp_path):
    pixels = random_pixels(0, 4, H, W).astype(np.float32)
    pixels[(2, *GAP)] = np.nan
    image, has_data = read(open_scene(write_named(tmp_path / "a.tif", pixels), S2, fill=FILL))
    expected = np.moveaxis(pixels, 0, -1).copy()
    expected[(*GAP, 2)] = FILL[2]
    np.testing.assert_array_equal(image, expected)
    assert not has_data[GAP].any()


@pytest.mark.parametrize(("dtype", "is_filled"), [(np.uint8, False), (np.uint16, True)])
def test_a_no_data_value_in_one_band_is_dark_in_8_bits_and_a_gap_in_16(dtype, is_filled, tmp_path):
    pixels = random_pixels(0, 4, H, W, dtype)
    pixels[1, 7, 9] = 0
    path = write_named(tmp_path / "a.tif", pixels, nodata=0)
    image, has_data = read(open_scene(path, S2, fill=(5, 6, 7, 8)))
    assert has_data.all()
    assert image[7, 9].tolist() == [pixels[0, 7, 9], 6 if is_filled else 0, *pixels[2:, 7, 9]]


def test_the_user_declares_and_denies_no_data(tmp_path):
    pixels = random_pixels(0, 4, H, W)
    pixels[:, 3] = 77
    path = write_named(tmp_path / "a.tif", pixels, nodata=0)
    assert not read(open_scene(path, S2, nodata="77"))[1][3].any()
    denied = open_scene(path, S2, nodata="none")
    assert not denied.can_miss
    assert read(denied)[1].all()
    with pytest.raises(UserError, match="--nodata: found 'black'; expected a number"):
        open_scene(path, S2, nodata="black")


def test_transparency_that_varies_is_none(tmp_path):
    """GDAL tags the near infrared of many files as transparency; 0 in it is water."""
    pixels = random_pixels(0, 4, H, W)
    pixels[3, 8] = 0
    path = write(tmp_path / "a.tif", pixels, photometric="RGB", alpha="yes")
    image, has_data = read(open_scene(path, NAIP.select(("red", "green", "blue"))))
    assert has_data.all()
    np.testing.assert_array_equal(image, np.moveaxis(pixels[:3], 0, -1))
    image, has_data = read(open_scene(path, NAIP, BANDS))
    assert has_data.all()
    np.testing.assert_array_equal(image, np.moveaxis(pixels, 0, -1))


@pytest.mark.parametrize(
    ("scale", "offset", "expected"),
    [(1e-4, 0.0, [1000, 3000]), (1e-4, -0.1, [0, 2000]), (2.75e-5, -0.2, [-1725, -1175])],
)
def test_a_file_s_own_scale_and_offset_give_digital_numbers(scale, offset, expected, tmp_path):
    pixels = np.repeat(np.array([[[1000, 3000]]], np.uint16), 4, axis=0)
    path = write_named(tmp_path / "a.tif", pixels)
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (scale,) * 4, (offset,) * 4
    scene = open_scene(path, S2)
    np.testing.assert_allclose(read(scene)[0][0, :, 2], expected, atol=1e-3)
    assert scene.dtype == ("uint16" if offset == 0 else "float32")
    told = open_scene(path, S2, conversion=Conversion(10.0, -500.0))
    np.testing.assert_array_equal(read(told)[0][0, :, 2], [50, 250])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "float32", "float64"])
def test_numbers_of_any_real_dtype_are_read(dtype, tmp_path):
    pixels = np.arange(4 * H * W).reshape(4, H, W).astype(dtype)
    scene = open_scene(write_named(tmp_path / "a.tif", pixels), S2)
    image, _ = read(scene)
    assert scene.dtype == image.dtype == (dtype if dtype == "uint8" else "float32")
    np.testing.assert_array_equal(image, np.moveaxis(pixels, 0, -1))


@settings(max_examples=30)
@given(data=st.data())
def test_any_window_is_that_part_of_the_whole(data, tmp_path_factory):
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    pixels = random_pixels(height, 4, height, width)
    pixels[:, pixels[0] < 60] = 0
    path = write_named(tmp_path_factory.mktemp("window") / "a.tif", pixels, nodata=0)
    scene = open_scene(path, S2)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    window = scene.read(top, left, h, w)
    image, has_data = read(scene)
    part = np.s_[top : top + h, left : left + w]
    np.testing.assert_array_equal(window["image"], image[part])
    np.testing.assert_array_equal(window["has_data"], has_data[part])
    assert scene.is_needed(top, left, h, w)
    with pytest.raises(ValueError, match="expected one inside"):
        scene.read(top, left, height - top + 1, w)


def test_threads_read_at_the_same_time(tmp_path):
    pixels = random_pixels(0, 4, 256, 256)
    scene = open_scene(write_named(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64,
                                   blockysize=64, compress="deflate"), S2)  # fmt: skip
    wrong = []

    def read_rows(first):
        for top in range(first, 256, 4):
            found = scene.read(top, 0, 1, 256)["image"]
            if not np.array_equal(found, np.moveaxis(pixels[:, top : top + 1], 0, -1)):
                wrong.append(top)

    threads = [threading.Thread(target=read_rows, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_sample_is_spread_over_the_scene_and_leaves_out_what_has_no_data(tmp_path):
    pixels = np.zeros((4, 900, 1200), np.uint8)
    rows, columns = np.mgrid[:900, :1200]
    pixels[0], pixels[1], pixels[2:] = 1 + rows // 4, 1 + columns // 5, 9
    pixels[:, 450:, 600:] = 0
    scene = open_scene(write_named(tmp_path / "a.tif", pixels, nodata=0), S2)
    sample = scene.sample_pixels()
    assert len(sample) == 9
    observed = observe(sample)
    assert observed.nodata == 0
    assert (observed.lowest[:2] < 40).all()
    assert (observed.highest[:2] > 170).all()


def test_a_scene_without_data_is_searched_for_some_and_has_no_sample(tmp_path):
    pixels = np.zeros((4, 900, 900), np.uint8)
    scene = open_scene(write_named(tmp_path / "a.tif", pixels, nodata=0), S2)
    assert scene.sample_pixels() == []


def test_the_digest_tells_scenes_and_readings_apart_but_not_copies(tmp_path):
    pixels = random_pixels(0, 4, H, W)
    path = write_named(tmp_path / "a.tif", pixels, nodata=0)
    copy = write_named(tmp_path / "copy" / "a.tif", pixels, nodata=0)
    changed = pixels.copy()
    changed[0, 20, 20] += 1
    others = [
        open_scene(write_named(tmp_path / "b" / "a.tif", changed, nodata=0), S2),
        open_scene(write_named(tmp_path / "c" / "a.tif", pixels, nodata=0,
                               transform=Affine(10, 0, 7e5, 0, -10, 5.9e6)), S2),
        open_scene(path, S2, conversion=Conversion(2.0)),
        open_scene(path, S2, nodata="none"),
        open_scene(path, S2, resolution=20),
        open_scene(path, S2.select(BANDS[::-1])),
    ]  # fmt: skip
    digest = open_scene(path, S2).digest
    assert open_scene(copy, S2).digest == digest
    assert len({digest, *(scene.digest for scene in others)}) == 1 + len(others)


@pytest.mark.parametrize(("layout", "rows"), [({"tiled": True}, 0), ({"blockysize": 4}, 644)])
def test_gdal_keeps_few_blocks_unless_they_are_as_wide_as_the_scene(layout, rows, tmp_path):
    width = 20_000
    pixels = np.ones((4, 700, width), np.uint8)
    scene = open_scene(write_named(tmp_path / "a.tif", pixels, compress="deflate", **layout), S2)
    scene.read(0, 0, 9, 9)
    limit = get_gdal_config("GDAL_CACHEMAX")
    assert limit == max(32 * 2**20, rows * width * 4)
