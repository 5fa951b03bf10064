"""Which files and bands of a scene are read, onto which grid."""

import zipfile

import numpy as np
import pytest
import rasterio
from image_mask_files import random_pixels, write
from rasterio import Affine
from rasterio.enums import ColorInterp, Resampling
from sentinel2_products import write_product, zip_product

from data_pipelines.bands import NAIP, SENTINEL2_L2A, Band, Sensor
from data_pipelines.bands.conversion import Conversion
from data_pipelines.errors import UserError
from data_pipelines.scenes import open_scene

BANDS = ("red", "green", "blue", "nir")
S2 = SENTINEL2_L2A.select(BANDS)
H, W = 12, 18


def place(metres, crs="EPSG:32632"):
    return {"crs": crs, "transform": Affine(metres, 0, 6e5, 0, -metres, 5.9e6)}


def write_scene(path, names, colours=None, **profile):
    """Write bands whose number is their value everywhere."""
    pixels = np.arange(1, len(names) + 1, dtype=np.uint8)[:, None, None].repeat(H, 1).repeat(W, 2)
    write(path, pixels, **place(10), **profile)
    with rasterio.open(path, "r+") as raster:
        raster.descriptions = names
        if colours:
            raster.colorinterp = [ColorInterp[colour] for colour in colours]
    return path


def read_bands(scene):
    return scene.read(0, 0, 1, 1)["image"][0, 0].tolist()


@pytest.mark.parametrize(
    ("names", "colours", "expected"),
    [
        (["Blue", "GREEN", "red", "NIR"], None, [3, 2, 1, 4]),
        (["B2", "B3", "B4", "B8"], None, [3, 2, 1, 4]),
        (["B8A", "B8", "B04_10m", "b03", "B02"], None, [3, 4, 5, 2]),
        (["B4, central wavelength 665 nm", "nir", "green", "blue"], None, [1, 3, 4, 2]),
        ([None] * 4, ["nir", "red", "green", "blue"], [2, 3, 4, 1]),
        # what a file calls its bands goes before the colours they are shown in
        (["nir", "red", "green", "blue"], ["red", "green", "blue", "undefined"], [2, 3, 4, 1]),
    ],
)
def test_bands_go_by_the_names_in_a_file(names, colours, expected, tmp_path):
    scene = open_scene(write_scene(tmp_path / "a.tif", names, colours), S2)
    assert read_bands(scene) == expected
    assert scene.found[0][1].endswith("(as the file names them)")


@pytest.mark.parametrize(
    ("names", "colours", "message"),
    [
        ([None] * 4, ["gray"] + ["undefined"] * 3,
         r"found 4 bands without names; the checkpoint needs red, green, blue, nir: name all of "
         r"them in this order, such as --bands red,green,blue,nir"),
        ([None] * 4, ["red", "green", "blue", "alpha"],
         r"found 4 bands \(1 red, 2 green, 3 blue, 4 alpha\); .* --bands red,green,blue,nir"),
        (["red", "green", "blue", "", ""], None,
         r"found 5 bands \(1 red, 2 green, 3 blue, 4, 5\); .* --bands red,green,blue,nir,other"),
        # both Landsat and numbers of bands are called so
        (["B1", "B2", "B3", "B4"], None, r"found 4 bands without names; .* --bands"),
        (["B2", "B3", "B4", "B5"], None, r"found 4 bands without names; .* --bands"),
        (["red", "red", "blue", "nir"], None,
         r"found more than one red among 4 bands \(1 red, 2 red, .* --bands red,green,blue,nir"),
        (["red", "green", "blue", "swir16"], None, r"needs red, .*: give a scene that has nir"),
        (["red", "green", "blue"], None, r"found 3 bands .*: give a scene that has nir"),
    ],
)  # fmt: skip
def test_bands_are_never_guessed(names, colours, message, tmp_path):
    path = write_scene(tmp_path / "a.tif", names, colours)
    with pytest.raises(UserError, match=message) as error:
        open_scene(path, S2)
    assert "\n" not in str(error.value)


def test_the_user_names_bands(tmp_path):
    path = write_scene(tmp_path / "a.tif", ["red", "green", "blue", None, None])
    assert read_bands(open_scene(path, S2, ["x", "nir", "blue", "green", "red"])) == [5, 4, 3, 2]
    with pytest.raises(UserError, match=r"--bands names 2 .*; expected a name for each of its 5"):
        open_scene(path, S2, ["red", "nir"])
    with pytest.raises(UserError, match="found more than one red among 5 bands"):
        open_scene(path, S2, ["red", "red", "blue", "green", "nir"])
    alpha = write_scene(tmp_path / "b.tif", [None] * 4, ["red", "green", "blue", "alpha"])
    assert read_bands(open_scene(alpha, NAIP, BANDS)) == [1, 2, 3, 4]
    rgb = NAIP.select(BANDS[:3])
    assert read_bands(open_scene(alpha, rgb, ["blue", "green", "red"])) == [3, 2, 1]


def test_a_sensor_s_own_names_are_known(tmp_path):
    bands = tuple(Band(name, (), 0.0, 1.0, 0.0, 0.0, 1.0) for name in ("height", "intensity"))
    path = write_scene(tmp_path / "a.tif", ["Intensity", "Height"])
    assert read_bands(open_scene(path, Sensor("lidar", 1.0, bands))) == [2, 1]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_with_a_file_for_each_band_is_a_scene(zipped, tmp_path):
    folder = tmp_path / "patch"
    for number, band in enumerate(("B02", "B03", "B04", "B08", "B8A"), 1):
        size = 6 if band == "B8A" else 12
        pixels = np.full((1, size, size), number, np.uint16)
        write(folder / f"patch_{band}.tif", pixels, **place(120 // size))
    (folder / "labels.json").write_text("{}")
    path = zip_product(folder, tmp_path / "patch.zip") if zipped else folder
    scene = open_scene(path, S2)
    assert (scene.name, scene.size, read_bands(scene)) == ("patch", (12, 12), [3, 2, 1, 4])
    # A network that learned at 10 m from bands of 20 m: the grid is that of the other files.
    coarse = open_scene(path, SENTINEL2_L2A.select(("nir08",)))
    assert (coarse.size, coarse.georeference) == ((12, 12), scene.georeference)
    with pytest.raises(UserError, match=r"found 5 files \(patch_B02.tif blue, .*has swir16"):
        open_scene(path, SENTINEL2_L2A.select(("red", "swir16")))


def test_files_without_band_names_are_told_in_the_order_of_their_names(tmp_path):
    for number, name in enumerate(("x1", "x2", "x3", "x4"), 1):
        write(tmp_path / "scene" / f"{name}.png", np.full((1, 5, 5), number, np.uint8), "PNG")
    with pytest.raises(UserError, match=r"found 4 files without names; .*--bands red,green,blue"):
        open_scene(tmp_path / "scene", S2)
    scene = open_scene(tmp_path / "scene", S2, ["nir", "blue", "green", "red"])
    assert read_bands(scene) == [4, 3, 2, 1]


def test_files_of_two_images_are_no_scene(tmp_path):
    for date in ("2018", "2019"):
        for band in ("B02", "B03", "B04", "B08"):
            write(tmp_path / f"{date}_{band}.tif", np.ones((1, 5, 5), np.uint8), **place(10))
    with pytest.raises(UserError, match="found 8 files without names"):
        open_scene(tmp_path, S2)
    for path in tmp_path.glob("2019_*"):
        path.unlink()
    write(tmp_path / "2018_B08.tif", np.ones((1, 5, 5), np.uint8), **place(20))
    with pytest.raises(UserError, match=r"2018_B08.tif of 5 × 5 pixels covers another place"):
        open_scene(tmp_path, S2)


@pytest.mark.parametrize("kind", ["folder", "zip", "granule", "metadata", "parent"])
def test_products_are_read_at_the_sensor_s_resolution_by_their_metadata(kind, tmp_path):
    numbers = write_product(tmp_path / "in")
    product = next((tmp_path / "in").iterdir())
    path = {
        "folder": product,
        "granule": next((product / "GRANULE").iterdir()),
        "metadata": product / "MTD_MSIL2A.xml",
        "parent": tmp_path / "in",
    }.get(kind) or zip_product(tmp_path / "in", tmp_path / "download.zip")
    scene = open_scene(path, SENTINEL2_L2A.select((*BANDS, "nir08")))
    read = scene.read(0, 0, 240, 240)
    assert scene.name == product.stem
    assert (scene.size, scene.dtype, scene.georeference.transform.a) == ((240, 240), "uint16", 10)
    assert ("numbers", "uint16, -1000 (a product of level L2A)") in scene.found
    assert not read["has_data"][:60].any()
    assert read["has_data"][60:].all()
    for channel, band in enumerate(("B04", "B03", "B02", "B08")):
        expected = (numbers[band].astype(int) - 1000).clip(1)
        np.testing.assert_array_equal(read["image"][60:, :, channel], expected[60:])
        assert (read["image"][:60, :, channel] == round(scene.fill[channel])).all()
    told = open_scene(path, S2, conversion=Conversion(1.0, 0.0))
    np.testing.assert_array_equal(told.read(60, 0, 180, 240)["image"][..., 0], numbers["B04"][60:])


def test_several_granules_are_refused(tmp_path):
    write_product(tmp_path)
    write_product(tmp_path, "T33UUU")
    with pytest.raises(UserError, match=r"has 2 granules .* expected one: give the folder of each"):
        open_scene(tmp_path, S2)


def read_by_gdal(path, size, resampling):
    with rasterio.open(path) as raster:
        return np.moveaxis(raster.read(out_shape=(4, *size), resampling=resampling), 0, -1)


@pytest.mark.parametrize(
    ("metres", "size", "method"),
    [(5, (24, 36), "bilinear"), (3, (40, 60), "bilinear"), (30, (4, 6), "average"),
     (20, (6, 9), "average")],
)  # fmt: skip
def test_resampled_numbers_are_gdal_s(metres, size, method, tmp_path):
    path = write(tmp_path / "a.tif", random_pixels(0, 4, H, W).astype(np.float32), **place(10))
    scene = open_scene(path, S2, BANDS, resolution=metres)
    assert scene.size == size
    image = scene.read(0, 0, *size)["image"]
    np.testing.assert_allclose(image, read_by_gdal(path, size, Resampling[method]), rtol=1e-5)
    extent = np.array([(0, 0), (size[1], size[0])]).T
    corners = scene.georeference.coordinates(*extent)
    np.testing.assert_allclose(corners, ([6e5, 6e5 + 180], [5.9e6, 5.9e6 - 120]))
    for top, left in ((0, 0), (1, 2), (size[0] - 2, size[1] - 3)):
        window = scene.read(top, left, 2, 3)["image"]
        np.testing.assert_array_equal(window, image[top : top + 2, left : left + 3])


@pytest.mark.parametrize("metres", [4, 17, 43])
def test_resampling_leaves_pixels_without_data_out(metres, tmp_path):
    pixels = np.full((4, 60, 60), 500, np.int16)
    pixels[:, :, 33:] = -9999
    pixels[:, 50:, :33] = 0
    path = write(tmp_path / "a.tif", pixels, nodata=-9999, **place(10))
    scene = open_scene(path, S2, BANDS, resolution=metres)
    read = scene.read(0, 0, *scene.size)
    share = read["has_data"].mean()
    assert share == pytest.approx(33 / 60, abs=0.06)
    values = read["image"][read["has_data"]]
    assert set(values[: scene.width // 2, 0].tolist()) <= {500.0, 0.0} or metres > 10
    assert values.min() >= 0
    assert values.max() <= 500


def test_pixels_that_are_not_square_become_so(tmp_path):
    profile = {"crs": "EPSG:32632", "transform": Affine(5, 0, 6e5, 0, -20, 5.9e6)}
    path = write(tmp_path / "a.tif", random_pixels(0, 4, H, W), **profile)
    scene = open_scene(path, S2, BANDS, resolution=10)
    assert scene.size == (24, 9)
    assert (scene.georeference.transform.a, scene.georeference.transform.e) == (10, -10)
    assert scene.resolution == pytest.approx(10, rel=2e-3)


def test_what_is_read_at_its_own_resolution_is_not_resampled(tmp_path):
    path = write(tmp_path / "a.tif", random_pixels(0, 4, H, W), **place(10))
    assert open_scene(path, S2, BANDS, resolution=10).size == (H, W)  # 9.998 m on the ground
    nowhere = write(tmp_path / "b.tif", random_pixels(0, 4, H, W))
    assert open_scene(nowhere, S2, BANDS).resolution == 0
    with pytest.raises(UserError, match="doesn't say where on the Earth it is"):
        open_scene(nowhere, S2, BANDS, resolution=10)


def test_paths_of_gdal_are_opened(tmp_path):
    write_scene(tmp_path / "a.tif", list(BANDS))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "inside/a.tif")
        archive.writestr("readme.txt", "no image")
    for path in (f"/vsizip/{tmp_path}/a.zip/inside/a.tif", str(tmp_path / "a.zip")):
        assert read_bands(open_scene(path, S2)) == [1, 2, 3, 4]
