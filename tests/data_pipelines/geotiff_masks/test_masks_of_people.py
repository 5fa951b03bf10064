"""Masks and images as people have them: other numbers, places, bands, no data."""

import numpy as np
import PIL.Image
import pytest
import rasterio
from image_mask_files import (
    get_build_error,
    paint_classes,
    random_classes,
    random_pixels,
    read_windows,
    write,
)
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from data_pipelines.build import main
from data_pipelines.preparing.build import build
from data_pipelines.preparing.verify import verify
from data_pipelines.sources.opening import open_dataset

SIDE = 32
CLASSES = random_classes(0, 3, SIDE, SIDE, block=5).astype(np.uint8)
THREE = ("classes=water,land,ice",)
TWO = ("classes=ground,thing",)
PLACE = {"crs": "EPSG:32632", "transform": from_origin(500_000, 6_000_000, 10, 10)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "files"


def write_pair(folder, image=None, mask=None, image_profile=None, mask_profile=None):
    image = random_pixels(1, 3, SIDE, SIDE) if image is None else image
    write(folder / "images" / "a.tif", image, **(image_profile or {}))
    write(folder / "masks" / "a.tif", CLASSES[None] if mask is None else mask,
          **(mask_profile or {}))  # fmt: skip


def build_one(folder, *fields):
    """Return the image and the mask of the only window."""
    build("geotiff_masks/mine", folder.parent, manual_dir=folder, fields=fields, overwrite=True)
    (window,) = read_windows("geotiff_masks/mine", folder.parent).values()
    return window


def run_command(folder, capsys, *arguments):
    """Run the build command, and return what it prints."""
    command = ["geotiff_masks/mine", "--data_dir", str(folder.parent), "--manual_dir", str(folder)]
    assert main([*command, *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("numbers", "fields"),
    [
        ((10, 20, 30), ("values=10,20,30",)),
        ((1, 2, 3), ("values=1,2,3", "ignore_label=0")),
        ((30, 10, 255), ("values=30,10,255", "ignore_label=0")),
        ((-5, 0, 70_000), ("values=-5,0,70000",)),
    ],
)
def test_any_number_can_be_a_class(folder, numbers, fields):
    write_pair(folder, mask=np.array(numbers, np.int32)[CLASSES][None])
    np.testing.assert_array_equal(build_one(folder, *THREE, *fields)[1], CLASSES)


@pytest.mark.parametrize(
    ("numbers", "hint"),
    [
        ((10, 20, 30), "found 10, 20, 30: if these are the classes, --config.values=10,20,30"),
        ((1, 2, 3), "has pixels of value 3; expected the numbers 0 to 2 of the 3 classes"),
        ((0, 5, 9), "--config.values=0,5,9"),
    ],
)
def test_the_message_about_other_numbers_names_them_and_the_field(folder, numbers, hint):
    write_pair(folder, mask=np.array(numbers, np.uint8)[CLASSES][None])
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *THREE)
    assert hint in message
    assert "--config.values=" in message


def test_classes_from_1_with_0_for_no_data_are_explained(folder):
    mask = CLASSES + 1
    mask[:3] = 0
    write_pair(folder, mask=mask[None])
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *THREE)
    assert "--config.values=1,2,3 --config.ignore_label=0" in message


def test_an_object_of_255_is_not_taken_for_unlabelled(folder):
    thing = (CLASSES[None] > 0) * np.uint8(255)
    write_pair(folder, mask=thing)
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *TWO)
    assert "so that thing would have no pixel; expected --config.values=0,255" in message
    expected = (CLASSES > 0).astype(np.uint8)
    np.testing.assert_array_equal(build_one(folder, *TWO, "values=0,255")[1], expected)
    unlabelled = np.where(expected, 255, 0)
    np.testing.assert_array_equal(build_one(folder, *TWO, "values=0,1")[1], unlabelled)


def test_the_command_prints_the_pixels_of_each_class_and_of_none(folder, capsys):
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[0, :8], mask[0, 8:24] = 255, 2
    write_pair(folder, mask=mask)
    output = run_command(folder, capsys, *(f"--config.{field}" for field in THREE))
    rows = {
        cells[0].strip(): cells[1].strip()
        for line in output.splitlines()
        if len(cells := line.strip("│").split("│")) == 2
    }
    assert rows["water"] == "256 (25.0%)"
    assert rows["land"] == "0 (0.0%)"
    assert rows["ice"] == "512 (50.0%)"
    assert rows["of no class"] == "256 (25.0%)"
    assert "warning: class land has no pixel in any split" in output
    assert "used: 1,024 (100.0%) of the 1,024 pixels of the files" in output


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64])
def test_whole_numbers_of_any_dtype_and_thrice_the_same_are_numbers(folder, dtype, copies):
    write_pair(folder, mask=np.repeat(CLASSES[None].astype(dtype), copies, axis=0))
    np.testing.assert_array_equal(build_one(folder, *THREE)[1], CLASSES)


def test_nan_and_the_no_data_value_of_a_mask_are_unlabelled(folder):
    mask = CLASSES.astype(np.float32)
    mask[0], mask[1] = np.nan, -9999
    write_pair(folder, mask=mask[None], mask_profile={"nodata": -9999})
    expected = CLASSES.copy()
    expected[:2] = 255
    np.testing.assert_array_equal(build_one(folder, *THREE)[1], expected)


def test_a_no_data_value_of_0_does_not_remove_class_0(folder):
    write_pair(folder, mask_profile={"nodata": 0})
    np.testing.assert_array_equal(build_one(folder, *THREE)[1], CLASSES)


COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
COLOURED = (*THREE, f"colours={COLOURS}")


def save_mask(folder, mask, name="a.png", **options):
    (folder / "masks" / "a.tif").unlink()
    mask.save(folder / "masks" / name, **options)


def test_colours_may_be_a_palette_or_have_transparency(folder):
    write_pair(folder)
    palette = PIL.Image.fromarray(CLASSES)
    palette.putpalette(np.array(COLOURS, np.uint8).ravel().tolist())
    save_mask(folder, palette)
    np.testing.assert_array_equal(build_one(folder, *COLOURED)[1], CLASSES)
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[0] = 0
    pixels = np.concatenate([paint_classes(CLASSES, COLOURS), alpha[None]])
    PIL.Image.fromarray(np.moveaxis(pixels, 0, -1)).save(folder / "masks" / "a.png")
    expected = np.where(alpha, CLASSES, 255)
    np.testing.assert_array_equal(build_one(folder, *COLOURED)[1], expected)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_one_bit_masks_are_numbers_or_black_and_white(folder, name):
    write_pair(folder)
    expected = (CLASSES > 0).astype(np.uint8)
    save_mask(folder, PIL.Image.fromarray(expected.astype(bool)), name)
    np.testing.assert_array_equal(build_one(folder, *TWO)[1], expected)
    colours = "colours=((0,0,0),(255,255,255))"
    np.testing.assert_array_equal(build_one(folder, *TWO, colours)[1], expected)


def test_compressed_colours_are_told_and_can_be_taken_for_the_nearest(folder, capsys):
    write_pair(folder)
    pixels = np.moveaxis(paint_classes(CLASSES, COLOURS), 0, -1)
    save_mask(folder, PIL.Image.fromarray(pixels), "a.jpg", quality=95, subsampling=0)
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *COLOURED)
    assert "% of the pixels have the colour of no class" in message
    assert "--config.colour_tolerance=40 takes the nearest class" in message
    _, mask = build_one(folder, *COLOURED, "colour_tolerance=40")
    assert (mask == CLASSES).mean() > 0.95


def test_blue_green_red_masks_are_recognised(folder):
    fields = (*THREE, "colours=((200,0,30),(30,200,0),(0,30,201))")
    write_pair(folder, mask=paint_classes(CLASSES, [(30, 0, 200), (0, 200, 30), (201, 30, 0)]))
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *fields)
    assert "as blue, green, red, 100% are classes: expected" in message
    assert "--config.colours=((30,0,200),(0,200,30),(201,30,0))" in message


def test_unknown_colours_are_named_and_can_mean_unlabelled(folder, capsys):
    mask = paint_classes(CLASSES, COLOURS)
    mask[:, :20] = 0
    write_pair(folder, mask=mask)
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *COLOURED)
    assert "62.5% of the pixels" in message
    assert "(0, 0, 0) 62.5%" in message
    expected = CLASSES.copy()
    expected[:20] = 255
    _, found = build_one(folder, *COLOURED, "unlabelled=((0,0,0),)")
    np.testing.assert_array_equal(found, expected)
    mask[:, 8:20] = mask[:, 20:]
    write_pair(folder, mask=mask)
    output = run_command(folder, capsys, "--dry_run", *(f"--config.{f}" for f in COLOURED))
    assert "masks: 25.0% of the pixels have the colour of no class and are unlabelled" in output


@pytest.mark.parametrize(
    "change",
    [
        {"transform": from_origin(500_320, 6_000_000, 10, 10)},
        {"transform": from_origin(500_007, 6_000_000, 10, 10)},
        {"transform": from_origin(500_000, 6_000_000, 5, 5)},
        {"crs": "EPSG:32633"},
        {"crs": "EPSG:4326"},
    ],
)
def test_a_mask_of_another_place_is_refused(folder, change):
    write_pair(folder, image_profile=PLACE, mask_profile={**PLACE, **change})
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *THREE)
    assert "masks/a.tif: lies at" in message
    assert "(500000, 6000000) of EPSG:32632 in pixels of 10 × 10" in message
    assert f"of {change.get('crs', 'EPSG:32632')} in pixels of" in message


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {**PLACE, "transform": from_origin(500_000.001, 6_000_000, 10, 10)},
        {**PLACE, "transform": from_origin(500_005, 6_000_005, 10, 10)},  # centres, not corners
        {"transform": PLACE["transform"]},
    ],
)
def test_a_mask_a_hair_off_or_without_a_place_is_right(folder, profile):
    write_pair(folder, image_profile=PLACE, mask_profile=profile)
    np.testing.assert_array_equal(build_one(folder, *THREE)[1], CLASSES)


def name_bands(folder, *names):
    with rasterio.open(folder / "images" / "a.tif", "r+") as file:
        file.descriptions = names


def test_bands_that_the_file_names_count(folder, capsys):
    image = random_pixels(1, 4, SIDE, SIDE, np.uint16)
    write_pair(folder, image)
    name_bands(folder, "B2", "B3", "B4", "B8")
    output = run_command(folder, capsys, "--dry_run", *(f"--config.{field}" for field in THREE))
    assert "blue from band 1, green from band 2, red from band 3, nir from band 4" in output
    assert "as the file names them B2, B3, B4, B8" in output
    found, _ = build_one(folder, *THREE, "bands=red,green,blue,nir")
    np.testing.assert_array_equal(found, np.moveaxis(image[[2, 1, 0, 3]], 0, -1))


def test_bands_are_found_by_name_in_each_file(folder):
    image = random_pixels(1, 4, SIDE, SIDE, np.uint16)
    write_pair(folder, image)
    name_bands(folder, "nir", "blue", "green", "red")
    found, _ = build_one(folder, *THREE, "bands=red,nir")
    np.testing.assert_array_equal(found, np.moveaxis(image[[3, 0]], 0, -1))
    message = get_build_error(
        "geotiff_masks/mine", folder.parent / "data", folder, *THREE, "bands=red,swir16"
    )
    assert "names its bands nir, blue, green, red, none of them swir16" in message
    found, _ = build_one(folder, *THREE, "bands=red,swir16", "channels=4,1")
    np.testing.assert_array_equal(found, np.moveaxis(image[[3, 0]], 0, -1))


def test_without_names_the_assumption_is_told_and_leading_bands_may_be_alone(folder, capsys):
    image = random_pixels(1, 4, SIDE, SIDE)  # GDAL tags the fourth band as transparency
    write_pair(folder, image)
    fields = [f"--config.{field}" for field in THREE]
    output = run_command(folder, capsys, "--dry_run", *fields)
    assert "nir from band 4 (assumed, because the files name none" in output
    assert build_one(folder, *THREE)[0].shape[-1] == 4
    found, _ = build_one(folder, *THREE, "bands=red,green,blue")
    np.testing.assert_array_equal(found, np.moveaxis(image[:3], 0, -1))
    output = run_command(folder, capsys, "--dry_run", *fields, "--config.bands=red,green,blue")
    assert "not read: band 4 of 4" in output


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_is_no_near_infrared(folder, dtype, capsys):
    image = random_pixels(1, 4, SIDE, SIDE, dtype)
    image[3] = np.iinfo(dtype).max
    image[3, :4] = 0
    write_pair(folder, image, image_profile={"photometric": "RGB", "alpha": "YES"})
    output = run_command(folder, capsys, "--dry_run", *(f"--config.{field}" for field in THREE))
    assert "band 4 is transparency, and where it is 0 there is no data" in output
    found, mask = build_one(folder, *THREE)
    assert found.shape[-1] == 3
    assert not found[:4].any()
    np.testing.assert_array_equal(found[4:], np.moveaxis(image[:3, 4:], 0, -1))
    assert (mask[:4] == 255).all()
    assert (mask[4:] == CLASSES[4:]).all()
    bands = "bands=red,green,blue,nir"
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *THREE, bands)
    assert "its band 4 is transparency: leave it out with --config.bands" in message
    channels = (*THREE, bands, "channels=1,2,3,4")
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *channels)
    assert "an alpha band" in message
    overrides = [f"--config.{field}" for field in channels]
    assert run_command(folder, capsys, "--overwrite", "--accept", "constant", *overrides)


def declare_value(folder, image, is_missing):
    image[:, is_missing] = 0
    write_pair(folder, image, image_profile={"nodata": 0})


def declare_another_value(folder, image, is_missing):
    image[:, 20, 20] = 0  # black, but not without data
    image[image == 255] = 254
    marked = image.copy()
    marked[:, is_missing] = 255
    write_pair(folder, marked, image_profile={"nodata": 255})


def write_internal_mask(folder, image, is_missing):
    write_pair(folder, image)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(folder / "images" / "a.tif", "r+") as file,
    ):
        file.write_mask(~is_missing)


def write_mask_beside(folder, image, is_missing):
    write_pair(folder, image)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(folder / "images" / "a.tif", "r+") as file,
    ):
        file.write_mask(~is_missing)
    assert (folder / "images" / "a.tif.msk").is_file()


WAYS = (declare_value, declare_another_value, write_internal_mask, write_mask_beside)


@pytest.mark.parametrize("declare", WAYS)
def test_pixels_without_data_are_of_no_class_and_not_measured(folder, declare):
    image = random_pixels(1, 3, SIDE, SIDE)
    is_missing = np.zeros((SIDE, SIDE), bool)
    is_missing[:, :12] = True
    declare(folder, image, is_missing)
    found, mask = build_one(folder, *THREE)
    np.testing.assert_array_equal(mask, np.where(is_missing, 255, CLASSES))
    assert not found[is_missing].any()
    dataset = open_dataset("geotiff_masks/mine", folder.parent)
    expected = np.where(image.any(axis=0), image, 1)[:, ~is_missing]  # black is stored as 1
    np.testing.assert_array_equal(found[~is_missing], expected.T)
    means = [band.mean for band in dataset.sensor.bands]
    np.testing.assert_allclose(means, expected.mean(axis=1), rtol=1e-12)
    assert verify(dataset)["train"].moments.pixels == (~is_missing).sum()


def test_a_dark_pixel_of_one_band_is_not_without_data(folder):
    image = random_pixels(1, 3, SIDE, SIDE)
    image[0, :10] = 0
    write_pair(folder, image, image_profile={"nodata": 0})
    np.testing.assert_array_equal(build_one(folder, *THREE)[1], CLASSES)


def test_no_data_can_be_given_and_denied(folder):
    image = random_pixels(1, 3, SIDE, SIDE)
    image[:, :10] = 7
    write_pair(folder, image)
    expected = CLASSES.copy()
    expected[:10] = 255
    np.testing.assert_array_equal(build_one(folder, *THREE, "nodata=7")[1], expected)
    write_pair(folder, image, image_profile={"nodata": 7})
    found, mask = build_one(folder, *THREE, "nodata=none")
    np.testing.assert_array_equal(mask, CLASSES)
    np.testing.assert_array_equal(found, np.moveaxis(image, 0, -1))


def test_reflectances_as_floats_are_converted_by_the_scale_that_the_message_gives(folder):
    image = np.random.default_rng(0).uniform(0.001, 0.6, (4, SIDE, SIDE)).astype(np.float32)
    image[:, :5] = np.nan
    write_pair(folder, image)
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *THREE)
    assert "its pixels are float32, 0.00" in message
    assert "here probably --config.scale=1 " in message
    found, mask = build_one(folder, *THREE, "scale=1")
    expected = np.rint(image[:, 5:].astype(np.float64) * 10_000)
    np.testing.assert_array_equal(found[5:], np.moveaxis(expected, 0, -1))
    assert (mask[:5] == 255).all()
    dataset = open_dataset("geotiff_masks/mine", folder.parent)
    assert dataset.image_dtype == np.uint16
    assert dataset.sensor.bands[0].scale == 1e-4
    means = [band.mean for band in dataset.sensor.bands]
    np.testing.assert_allclose(means, expected.mean(axis=(1, 2)), rtol=1e-6)


def test_negative_numbers_are_converted_and_their_no_data_found(folder):
    image = np.random.default_rng(0).integers(-50, 6000, (3, SIDE, SIDE)).astype(np.int16)
    image[:, :5] = -9999
    write_pair(folder, image)
    message = get_build_error("geotiff_masks/mine", folder.parent / "data", folder, *THREE)
    assert "int16, -9999 to" in message
    assert "--config.scale=1e-4 --config.nodata=VALUE" in message
    found, mask = build_one(folder, *THREE, "scale=1e-4", "nodata=-9999")
    np.testing.assert_array_equal(found[5:], np.moveaxis(image[:, 5:].clip(1), 0, -1))
    assert (mask[:5] == 255).all()


def test_an_offset_is_added_after_no_data_is_found(folder):
    image = np.random.default_rng(0).integers(900, 9000, (3, SIDE, SIDE)).astype(np.uint16)
    image[:, :5] = 0
    write_pair(folder, image, image_profile={"nodata": 0})
    found, mask = build_one(folder, *THREE, "offset=-1000", "sensor=sentinel2_l2a")
    expected = (image[:, 5:].astype(int) - 1000).clip(1)
    np.testing.assert_array_equal(found[5:], np.moveaxis(expected, 0, -1))
    assert not found[:5].any()
    assert (mask[:5] == 255).all()


def test_16_bit_numbers_that_would_be_cut_are_told_with_the_scale_to_give(folder, capsys):
    write_pair(folder, random_pixels(1, 3, SIDE, SIDE, np.uint16))
    fields = [f"--config.{field}" for field in THREE]
    output = run_command(folder, capsys, "--dry_run", *fields)
    assert "of the values are above 10,000" in output
    assert "expected --config.scale=1.5259e-05 for images stretched to that range" in output
    output = run_command(folder, capsys, "--dry_run", *fields, "--config.scale=1.5259e-05")
    assert "numbers: uint16, of 1.5259e-05 each (--config.scale)" in output


def test_colour_interpretation_in_another_order_is_a_name(folder):
    image = random_pixels(1, 3, SIDE, SIDE)
    write_pair(folder, image)
    with rasterio.open(folder / "images" / "a.tif", "r+") as file:
        file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    found, _ = build_one(folder, *THREE, "bands=red,green,blue")
    np.testing.assert_array_equal(found, np.moveaxis(image[::-1], 0, -1))
