import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from image_mask_files import (
    assert_same_windows,
    get_build_error,
    make_expected_windows,
    paint_classes,
    random_classes,
    random_pixels,
    read_windows,
    truncate,
    write,
)
from rasterio.transform import from_origin

from data_pipelines.masked_images import blocks
from data_pipelines.preparing.build import build
from data_pipelines.preparing.verify import verify
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

REALDATA = os.environ.get("SSL_JAX_REALDATA", "")
CLASSES = ("water", "land", "ice")
COLOURS = ((0, 0, 128), (200, 180, 40), (1, 2, 3))
SIZES = {"a": (64, 96), "b": (70, 50), "deep/c": (32, 32), "d": (20, 40)}
FIELDS = ("classes=water,land,ice", "window=32", "stride=16")
COLOURED = (*FIELDS, "colours=((0,0,128),(200,180,40),(1,2,3))")


def make_image(name, bands=4, dtype=np.uint8):
    return random_pixels(len(name) + ord(name[-1]), bands, *SIZES[name], dtype)


def make_classes(name):
    """Make class numbers, with 255 in the first row."""
    classes = random_classes(ord(name[-1]), len(CLASSES), *SIZES[name], block=7).astype(np.uint8)
    classes[0] = 255
    return classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four images of several sizes, with masks of class numbers."""
    folder = tmp_path_factory.mktemp("images")
    for name in SIZES:
        write(folder / "images" / f"{name}.tif", make_image(name))
        write(folder / "masks" / f"{name}.tif", make_classes(name)[None])
    return folder


@pytest.fixture
def one_image(tmp_path):
    """A folder with one image, `a`, and its mask."""
    write(tmp_path / "files" / "images" / "a.tif", make_image("a"))
    write(tmp_path / "files" / "masks" / "a.tif", make_classes("a")[None])
    return tmp_path / "files"


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    build("geotiff_masks/mine", data_dir, manual_dir=folder, fields=FIELDS)
    return data_dir


def make_all_expected(names=SIZES):
    expected = {}
    for name in names:
        expected |= make_expected_windows(name, make_image(name), make_classes(name), 32, 16)
    return expected


def test_windows_have_the_pixels_and_classes_of_images_of_any_size(prepared):
    assert_same_windows(read_windows("geotiff_masks/mine", prepared), make_all_expected())


def test_empty_fields_are_inferred_from_the_first_image(one_image, prepared, tmp_path):
    dataset = open_dataset("geotiff_masks/mine", prepared)
    assert dataset.sensor.names == ("red", "green", "blue", "nir")
    assert dataset.sensor.name == "mine"
    assert dataset.sensor.measured
    assert dataset.image_dtype == np.uint8
    assert dataset.image_shape == (32, 32, 4)
    assert dataset.classes == CLASSES
    assert len(set(dataset.colours)) == 3
    write(
        one_image / "images" / "a.tif",
        make_image("a", 3, np.uint16),
        crs="EPSG:2263",  # in feet
        transform=from_origin(0, 0, 2, 2),
    )
    build("geotiff_masks/other", tmp_path, manual_dir=one_image, fields=FIELDS[:1])
    dataset = open_dataset("geotiff_masks/other", tmp_path)
    assert dataset.sensor.names == ("red", "green", "blue")
    assert dataset.sensor.resolution == pytest.approx(0.6096, abs=1e-4)
    assert dataset.sensor.bands[0].scale == 1e-4
    assert dataset.image_dtype == np.uint16
    assert dataset.image_shape == (64, 64, 3)  # the smaller side
    assert dataset.grid.to_dict() == {"cell": 32, "window": 2, "stride": 1}


def test_a_known_sensor_and_its_bands_can_be_selected(one_image, tmp_path):
    bands = "bands=B8A,red,swir16,B12"
    fields = (*FIELDS, bands, "sensor=sentinel2_l2a")
    write(one_image / "images" / "a.tif", make_image("a", dtype=np.uint16))
    build("geotiff_masks/mine", tmp_path, manual_dir=one_image, fields=fields)
    sensor = open_dataset("geotiff_masks/mine", tmp_path).sensor
    assert (sensor.name, sensor.resolution) == ("sentinel2_l2a", 10)
    assert sensor.names == ("nir08", "red", "swir16", "swir22")


def make_colour_mask(classes):
    """Make a mask of colours; unlabelled pixels have nearly the colour of the first class."""
    return paint_classes(classes.clip(0, 3), [*COLOURS, (0, 0, 129)])


def test_colours_match_exactly_and_others_are_unlabelled(prepared, tmp_path):
    files = tmp_path / "files"
    for name in SIZES:
        write(files / "images" / f"{name}.tif", make_image(name))
        write(files / "masks" / f"{name}.png", make_colour_mask(make_classes(name)), driver="PNG")
    build("geotiff_masks/mine", tmp_path, manual_dir=files, fields=COLOURED)
    assert_same_windows(
        read_windows("geotiff_masks/mine", tmp_path), read_windows("geotiff_masks/mine", prepared)
    )
    assert open_dataset("geotiff_masks/mine", tmp_path).colours == COLOURS


def test_masks_may_have_a_palette(one_image, tmp_path):
    mask = PIL.Image.fromarray(make_classes("a"))
    mask.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    (one_image / "masks" / "a.tif").unlink()
    mask.save(one_image / "masks" / "a.png")
    build("geotiff_masks/mine", tmp_path, manual_dir=one_image, fields=FIELDS)
    assert_same_windows(read_windows("geotiff_masks/mine", tmp_path), make_all_expected(["a"]))


@pytest.mark.parametrize(("dtype", "ignore_label"), [(np.uint16, 9999), (np.int16, -1)])
def test_any_number_can_be_the_ignore_label(one_image, tmp_path, dtype, ignore_label):
    numbers = make_classes("a").astype(dtype)
    numbers[0] = ignore_label
    write(one_image / "masks" / "a.tif", numbers[None])
    fields = (*FIELDS, f"ignore_label={ignore_label}")
    build("geotiff_masks/mine", tmp_path, manual_dir=one_image, fields=fields)
    assert_same_windows(read_windows("geotiff_masks/mine", tmp_path), make_all_expected(["a"]))


@pytest.mark.parametrize(
    ("image", "mask", "fields"),
    [
        ("images/{}.tif", "masks/{}.tif", ()),
        ("area/images/{}.tif", "area/masks/{}.tif", ()),
        ("img_dir/{}.tif", "ann_dir/{}.tif", ("images=img_dir/**/*", "masks=ann_dir/**/*")),
        ("{}_sat.tif", "{}_mask.tif", ("images=**/*_sat.tif", "masks=**/*_mask.tif")),
        ("{}/image.tif", "{}/gt.tif", ("images=**/*/image.tif", "masks=**/*/gt.tif")),
    ],
)
def test_images_and_masks_are_paired_by_the_text_that_wildcards_match(
    tmp_path, image, mask, fields
):
    names = ("a", "deep/c")
    for name in names:
        write(tmp_path / "files" / image.format(name), make_image(name))
        write(tmp_path / "files" / mask.format(name), make_classes(name)[None])
    build("geotiff_masks/mine", tmp_path, manual_dir=tmp_path / "files", fields=FIELDS + fields)
    area = "area/" if image.startswith("area") else ""
    expected = {f"{area}{key}": window for key, window in make_all_expected(names).items()}
    assert_same_windows(read_windows("geotiff_masks/mine", tmp_path), expected)


@pytest.mark.parametrize("layout", ["images/{}/{}.tif", "{}/images/{}.tif"])
def test_folders_train_val_and_test_become_splits(tmp_path, layout):
    for split, name in (("train", "a"), ("val", "b"), ("test", "d")):
        write(tmp_path / "files" / layout.format(split, name), make_image(name))
        mask = layout.replace("images", "masks").format(split, name)
        write(tmp_path / "files" / mask, make_classes(name)[None])
    build("geotiff_masks/mine", tmp_path, manual_dir=tmp_path / "files", fields=FIELDS)
    for split, key in (("train", "train/a"), ("validation", "val/b"), ("test", "test/d")):
        windows = read_windows("geotiff_masks/mine", tmp_path, split)
        assert {k.rpartition("/")[0].rpartition("/")[0] for k in windows} == {key}


def test_a_reproducible_fraction_of_the_images_is_for_validation(tmp_path):
    files = tmp_path / "files"
    for number in range(40):
        write(files / "images" / f"{number}.tif", random_pixels(number, 3, 16, 16))
        write(files / "masks" / f"{number}.tif", np.zeros((1, 16, 16), np.uint8))
    fields = ("classes=land", "validation=0.25")
    build("geotiff_masks/mine", tmp_path, manual_dir=files, fields=fields)
    dataset = open_dataset("geotiff_masks/mine", tmp_path)
    train, validation = (
        {key.decode().split("/")[0] for key in select_subset(dataset, split).examples.example_ids()}
        for split in ("train", "validation")
    )
    assert not train & validation
    assert len(train | validation) == 40
    # CRC-32 of the names: a change would move images of existing datasets to the other split.
    assert sorted(validation, key=int) == ["2", "6", "13", "17", "23", "27", "33", "37"]
    for number in range(20, 40):
        (files / "images" / f"{number}.tif").unlink()
    build("geotiff_masks/fewer", tmp_path, manual_dir=files, fields=fields)
    fewer = select_subset(
        open_dataset("geotiff_masks/fewer", tmp_path), "validation"
    ).examples.example_ids()
    assert {key.decode().split("/")[0] for key in fewer} == {n for n in validation if int(n) < 20}


def test_two_workers_write_the_same_files_as_one(folder, prepared, tmp_path):
    again = build("geotiff_masks/mine", tmp_path, manual_dir=folder, fields=FIELDS, workers=2)
    files = sorted(again.glob("*array_record*"))
    assert files
    for file in files:
        assert file.read_bytes() == (prepared / file.relative_to(tmp_path)).read_bytes()


def write_invalid_class(folder):
    numbers = make_classes("a")
    numbers[-1, -1] = 3
    write(folder / "masks" / "a.tif", numbers[None])
    return (
        "masks/a.tif: has pixels of value 3; expected the numbers 0 to 2 of the 3 classes, or 255"
    )


def write_fractions(folder):
    write(folder / "masks" / "a.tif", make_classes("a")[None] / np.float32(2))
    return "masks/a.tif: has pixels of value 127.5; expected the numbers 0 to 2"


def write_unexpected_colours(folder):
    write(folder / "masks" / "a.tif", make_colour_mask(make_classes("a")))
    return "masks/a.tif: has 3 bands that differ, as colours do; expected 1 of numbers, or --config"


def change_mask_size(folder):
    write(folder / "masks" / "a.tif", make_classes("a")[None, :-1])
    return "masks/a.tif: has 63 × 96 pixels; expected 64 × 96"


def truncate_tif(folder):
    truncate(folder / "images" / "a.tif")
    return "images/a.tif: can't be read"


def truncate_png(folder):
    """By default, GDAL reads a truncated PNG as noise."""
    (folder / "images" / "a.tif").unlink()
    truncate(write(folder / "images" / "a.png", make_image("a", 4), driver="PNG"))
    return "images/a.png: can't be read"


def rename_mask(folder):
    (folder / "masks" / "a.tif").rename(folder / "masks" / "z.tif")
    return "images/a.tif: has no mask; found b, z that match **/masks/**/*; expected a mask"


CORRUPTIONS = (
    write_invalid_class, write_fractions, write_unexpected_colours, change_mask_size,
    truncate_tif, truncate_png, rename_mask,
)  # fmt: skip


# With many strips, an error in the last one must prevent the blocks of the first one.
@pytest.mark.parametrize("strip_bytes", [blocks._STRIP_BYTES, 1])
@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_an_invalid_file_is_named_and_nothing_is_written_or_it_is_skipped(
    one_image, tmp_path, corrupt, strip_bytes, monkeypatch
):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", strip_bytes)
    write(one_image / "images" / "b.tif", make_image("b"))
    write(one_image / "masks" / "b.tif", make_classes("b")[None])
    expected = corrupt(one_image)
    fields = (*FIELDS, "validation=0")
    assert expected in get_build_error("geotiff_masks/mine", tmp_path / "data", one_image, *fields)
    prepared = build("geotiff_masks/mine", tmp_path, manual_dir=one_image, fields=fields, skip=True)
    (skipped,) = (prepared / "skipped.txt").read_text().splitlines()
    assert expected in skipped
    assert_same_windows(read_windows("geotiff_masks/mine", tmp_path), make_all_expected(["b"]))


def test_a_mask_of_numbers_with_config_colours_is_an_error(one_image, tmp_path):
    message = get_build_error("geotiff_masks/mine", tmp_path / "data", one_image, *COLOURED)
    assert "masks/a.tif: has 1 bands; expected 3" in message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("window=32",), "--config.classes: found 0 names; expected 1 to 255"),
        (("classes=a,b,a",), "--config.classes: found 'a' twice"),
        ((*FIELDS, "ignore_label=1"), "--config.ignore_label: found 1, the number of class land"),
        ((*FIELDS, "colours=((0,0,0),(1,1,1))"), "--config.colours: found ((0, 0, 0), (1, 1, 1))"),
        ((*FIELDS, "colours=((0,0,0),(1,1,1),(0,0,0))"), "each of the 3 classes"),
        ((*FIELDS, "colours=((0,0,0),(1,1,1),(2,2,256))"), "0 to 255"),
        ((*FIELDS, "colours=1,2,3"), "--config.colours: found (1, 2, 3)"),
        ((*FIELDS, "stride=33"), "--config.stride: found 33 with a window of 32"),
        ((*FIELDS, "sensor=naipp"), "--config.sensor: found 'naipp'; expected one of"),
        ((*FIELDS, "bands=red,nir"), "a.tif: has 4 bands without names; expected --config.bands"),
        ((*FIELDS, "bands=red,green,blue,nir,swir16"), "a.tif: has 4 bands; expected 5"),
        ((*FIELDS, "channels=1,2,3,9"), "a.tif: has 4 bands; expected 9 for --config.channels"),
        ((*FIELDS, "channels=1,2"), "--config.channels: found 2 numbers; expected one for each"),
        ((*FIELDS, "values=1,2"), "--config.values: found (1, 2); expected a number for each of"),
        ((*FIELDS, "values=1,2,2"), "water, land, ice, all different"),
        ((*FIELDS, "ignore_label=0"), "--config.values=1,2,3"),
        ((*FIELDS, "nodata=black"), "--config.nodata: found 'black'; expected a number, nan, or"),
        ((*FIELDS, "scale=-1"), "--config.scale, --config.offset: found -1 and 0"),
        ((*FIELDS, "bands=red,green,blue,ultra"), "band 'ultra'"),
        ((*FIELDS, "images=pics/*"), "no image matches pics/*; found images/a.tif, masks/a.tif"),
        ((*FIELDS, "dtype=uint16"), "its pixels are uint8; expected uint16"),
    ],
)
def test_an_invalid_config_is_an_error(one_image, tmp_path, fields, message):
    assert message in get_build_error("geotiff_masks/mine", tmp_path / "data", one_image, *fields)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (make_image("a", 5), "a.tif: number of bands is 5; expected 3 or 4, or --config.bands="),
        (make_image("a").astype(np.complex64), "its pixels are complex64"),
    ],
)
def test_images_with_unknown_bands_or_dtype_are_errors(one_image, tmp_path, pixels, message):
    write(one_image / "images" / "a.tif", pixels)
    assert message in get_build_error("geotiff_masks/mine", tmp_path / "data", one_image, *FIELDS)


def test_two_files_with_the_same_name_are_an_error(one_image, tmp_path):
    write(one_image / "images" / "a.png", make_image("a"), driver="PNG")
    message = get_build_error("geotiff_masks/mine", tmp_path / "data", one_image, *FIELDS)
    assert "a.tif: matches **/images/**/* with the same name, 'a', as" in message


def test_an_image_beside_the_folders_of_splits_is_an_error(one_image, tmp_path):
    write(one_image / "images" / "train" / "b.tif", make_image("b"))
    write(one_image / "masks" / "train" / "b.tif", make_classes("b")[None])
    message = get_build_error("geotiff_masks/mine", tmp_path / "data", one_image, *FIELDS)
    assert "images/a.tif: is in no folder of a split, as" in message


def test_a_name_and_files_are_required(tmp_path):
    assert "reads your own files; expected --manual_dir with a folder of images" in get_build_error(
        "geotiff_masks/mine", tmp_path / "data", None, *FIELDS
    )
    assert "expected geotiff_masks/NAME, with a name of your choice" in get_build_error(
        "geotiff_masks", tmp_path / "data", None, *FIELDS
    )


@pytest.mark.skipif(not REALDATA, reason="SSL_JAX_REALDATA is not set")
def test_a_real_scene_and_its_mask_are_stored_unchanged(tmp_path):
    with np.load(Path(REALDATA, "sentinel2_mask", "sentinel2.npz")) as real:
        image = np.moveaxis(np.round(real["img"] * 1e4), -1, 0).astype(np.uint16)
        mask = real["msk"][..., 0]
    write(tmp_path / "files" / "images" / "scene.tif", image)
    write(tmp_path / "files" / "masks" / "scene.tif", mask[None])
    fields = (
        "classes=shadow,water,unused,land,cloud", "bands=blue,green,red,nir,swir16,swir22",
        "window=128", "stride=64",
    )  # fmt: skip
    build("geotiff_masks/clouds", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    windows = read_windows("geotiff_masks/clouds", tmp_path)
    assert_same_windows(windows, make_expected_windows("scene", image, mask, 128, 64))
    assert len(windows) == 49


def test_statistics_exclude_padding(tmp_path):
    """An image of 70 × 70 pixels is stored as blocks of 50 × 50, and fills about half of them."""
    pixels = random_pixels(0, 3, 70, 70)
    write(tmp_path / "files" / "images" / "a.tif", pixels)
    write(tmp_path / "files" / "masks" / "a.tif", random_classes(0, 2, 70, 70)[np.newaxis])
    fields = ["classes=one,other", "window=50", "stride=50"]
    build("geotiff_masks/mine", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    dataset = open_dataset("geotiff_masks/mine", tmp_path)
    means = [band.mean for band in dataset.sensor.bands]
    np.testing.assert_allclose(means, pixels.mean(axis=(1, 2)), rtol=1e-12)
    moments = verify(dataset)["train"].moments
    assert moments.pixels == 70 * 70
