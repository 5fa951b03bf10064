"""Files that can't be read end in one line that names them."""

import numpy as np
import pytest
import rasterio
from image_mask_files import random_pixels, truncate, write
from rasterio import Affine

from data_pipelines.bands import SENTINEL2_L2A
from data_pipelines.errors import UserError
from data_pipelines.scenes import open_scene

BANDS = ("red", "green", "blue", "nir")
S2 = SENTINEL2_L2A.select(BANDS)
SIDE = 200
LAYOUTS = {
    "strips": {},
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64},
    "deflate": {"compress": "deflate", "predictor": 2},
    "bands one after the other": {"interleave": "band"},
}


def read_rows(path, **options):
    scene = open_scene(path, S2, **options)
    for top in range(scene.height):
        scene.read(top, 0, 1, scene.width)


def refusal(path, **options):
    """Return the message with which a scene is refused, when it is opened or read."""
    with pytest.raises(UserError) as error:
        read_rows(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_truncated_tiff_is_found_out_when_its_end_is_read(layout, tmp_path):
    pixels = random_pixels(0, 4, SIDE, SIDE, np.uint16)
    path = write(tmp_path / "a.tif", pixels, **LAYOUTS[layout])
    truncate(path, 0.9)
    assert "can't be read at row" in refusal(path, bands=BANDS)
    with pytest.raises(UserError, match=r"a.tif: can't be read at row .*an intact copy"):
        open_scene(path, S2, BANDS).sample_pixels()  # before anything is computed


@pytest.mark.parametrize("driver", ["PNG", "JPEG", "JP2OpenJPEG"])
def test_truncated_files_of_other_formats_are_found_out(driver, tmp_path):
    options = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    pixels = random_pixels(0, 4, SIDE, SIDE)[: 3 if driver == "JPEG" else 4]
    path = write(tmp_path / "a.img", pixels, driver, **options)
    truncate(path, 0.6)
    bands = BANDS[:3] if driver == "JPEG" else BANDS
    with pytest.raises(UserError, match=r"file .*a\.img: can't be (opened|read)"):
        open_scene(path, S2.select(bands), bands).read(0, 0, SIDE, SIDE)


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_numbers_are_refused(dtype, tmp_path):
    profile = {"driver": "GTiff", "count": 4, "height": 5, "width": 5, "dtype": dtype}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, crs="EPSG:4326") as raster:
        raster.write(np.ones((4, 5, 5), np.complex64))
    message = refusal(tmp_path / "a.tif", bands=BANDS)
    assert f"its pixels are {dtype}; expected real numbers" in message


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.tif").write_text("no image")
    (tmp_path / "b.zip").write_text("no archive")
    (tmp_path / "empty").mkdir()
    assert "a.tif: can't be opened" in refusal(tmp_path / "a.tif")
    assert "b.zip: is corrupt or not a complete zip archive" in refusal(tmp_path / "b.zip")
    assert "empty: has no images" in refusal(tmp_path / "empty")
    assert "c.tif: is not there" in refusal(tmp_path / "c.tif")
    assert "c.zip: is not there" in refusal(tmp_path / "c.zip")
    assert "can't be opened" in refusal("/vsizip/c.zip/a.tif")


def test_a_mosaic_that_lacks_a_file_is_refused(tmp_path):
    (tmp_path / "a.vrt").write_text(
        "<VRTDataset rasterXSize='5' rasterYSize='5'><VRTRasterBand dataType='Byte' band='1'>"
        "<SimpleSource><SourceFilename relativeToVRT='1'>gone.tif</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(UserError, match=r"a.vrt: can't be read .*gone.tif"):
        open_scene(tmp_path / "a.vrt", S2.select(("red",)), ["red"]).read(0, 0, 5, 5)


def test_a_scale_that_is_no_number_is_refused(tmp_path):
    path = write(
        tmp_path / "a.tif", random_pixels(0, 4, 5, 5), crs="EPSG:4326", transform=Affine.scale(2)
    )
    with rasterio.open(path, "r+") as raster:
        raster.scales = (0.0,) * 4
    assert "has the scale 0 and the offset 0; expected finite ones" in refusal(path, bands=BANDS)


def test_an_image_of_one_pixel_is_read(tmp_path):
    path = write(tmp_path / "a.tif", random_pixels(0, 4, 1, 1))
    scene = open_scene(path, S2, BANDS)
    assert scene.read(0, 0, 1, 1)["image"].shape == (1, 1, 4)
    assert len(scene.sample_pixels()) == 1
