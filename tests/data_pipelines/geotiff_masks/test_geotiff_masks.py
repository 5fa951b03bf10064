import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from image_mask_files import (
    assert_same_windows,
    expected_windows,
    painted,
    random_classes,
    random_pixels,
    refused,
    truncate,
    windows_of,
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


def image_of(name, bands=4, dtype=np.uint8):
    return random_pixels(len(name) + ord(name[-1]), bands, *SIZES[name], dtype)


def classes_of(name):
    """Class numbers, and 255 in the first row."""
    classes = random_classes(ord(name[-1]), len(CLASSES), *SIZES[name], block=7).astype(np.uint8)
    classes[0] = 255
    return classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four pictures of several sizes, with masks of class numbers."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in SIZES:
        write(folder / "images" / f"{name}.tif", image_of(name))
        write(folder / "masks" / f"{name}.tif", classes_of(name)[None])
    return folder


@pytest.fixture
def one(tmp_path):
    """A folder of one picture, `a`, and its mask."""
    write(tmp_path / "files" / "images" / "a.tif", image_of("a"))
    write(tmp_path / "files" / "masks" / "a.tif", classes_of("a")[None])
    return tmp_path / "files"


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    build("geotiff_masks/mine", data_dir, manual_dir=folder, fields=FIELDS)
    return data_dir


def all_expected(names=SIZES, image=image_of):
    expected = {}
    for name in names:
        expected |= expected_windows(name, image(name), classes_of(name), 32, 16)
    return expected


def test_windows_show_the_pixels_and_classes_of_pictures_of_any_size(prepared):
    assert_same_windows(windows_of("geotiff_masks/mine", prepared), all_expected())


def test_what_is_left_open_is_as_the_first_image_has_it(one, prepared, tmp_path):
    dataset = open_dataset("geotiff_masks/mine", prepared)
    assert dataset.sensor.names == ("red", "green", "blue", "nir")
    assert dataset.sensor.name == "mine"
    assert dataset.sensor.measured
    assert dataset.image_dtype == np.uint8
    assert dataset.image_shape == (32, 32, 4)
    assert dataset.classes == CLASSES
    assert len(set(dataset.colours)) == 3
    write(
        one / "images" / "a.tif",
        image_of("a", 3, np.uint16),
        crs="EPSG:2263",  # in feet
        transform=from_origin(0, 0, 2, 2),
    )
    build("geotiff_masks/other", tmp_path, manual_dir=one, fields=FIELDS[:1])
    dataset = open_dataset("geotiff_masks/other", tmp_path)
    assert dataset.sensor.names == ("red", "green", "blue")
    assert dataset.sensor.resolution == pytest.approx(0.6096, abs=1e-4)
    assert dataset.sensor.bands[0].scale == 1e-4
    assert dataset.image_dtype == np.uint16
    assert dataset.image_shape == (64, 64, 3)  # the smaller side
    assert dataset.grid.to_dict() == {"cell": 32, "window": 2, "stride": 1}


def test_a_known_sensor_and_other_bands_are_taken_at_their_word(one, tmp_path):
    bands = "bands=B8A,red,swir16,B12"
    fields = (*FIELDS, bands, "sensor=sentinel2_l2a")
    write(one / "images" / "a.tif", image_of("a", dtype=np.uint16))
    build("geotiff_masks/mine", tmp_path, manual_dir=one, fields=fields)
    sensor = open_dataset("geotiff_masks/mine", tmp_path).sensor
    assert (sensor.name, sensor.resolution) == ("sentinel2_l2a", 10)
    assert sensor.names == ("nir08", "red", "swir16", "swir22")


def coloured(classes):
    """What is of no class is of nearly the first one's colour."""
    return painted(classes.clip(0, 3), [*COLOURS, (0, 0, 129)])


def test_colours_are_exact_and_unknown_ones_are_ignored(prepared, tmp_path):
    files = tmp_path / "files"
    for name in SIZES:
        write(files / "images" / f"{name}.tif", image_of(name))
        write(files / "masks" / f"{name}.png", coloured(classes_of(name)), driver="PNG")
    build("geotiff_masks/mine", tmp_path, manual_dir=files, fields=COLOURED)
    assert_same_windows(
        windows_of("geotiff_masks/mine", tmp_path), windows_of("geotiff_masks/mine", prepared)
    )
    assert open_dataset("geotiff_masks/mine", tmp_path).colours == COLOURS


def test_masks_may_have_a_palette(one, tmp_path):
    mask = PIL.Image.fromarray(classes_of("a"))
    mask.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    (one / "masks" / "a.tif").unlink()
    mask.save(one / "masks" / "a.png")
    build("geotiff_masks/mine", tmp_path, manual_dir=one, fields=FIELDS)
    assert_same_windows(windows_of("geotiff_masks/mine", tmp_path), all_expected(["a"]))


@pytest.mark.parametrize(("dtype", "none"), [(np.uint16, 9999), (np.int16, -1)])
def test_any_number_can_mean_no_class(one, tmp_path, dtype, none):
    numbers = classes_of("a").astype(dtype)
    numbers[0] = none
    write(one / "masks" / "a.tif", numbers[None])
    fields = (*FIELDS, f"ignore_label={none}")
    build("geotiff_masks/mine", tmp_path, manual_dir=one, fields=fields)
    assert_same_windows(windows_of("geotiff_masks/mine", tmp_path), all_expected(["a"]))


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
def test_images_find_their_masks_by_what_wildcards_stand_for(tmp_path, image, mask, fields):
    names = ("a", "deep/c")
    for name in names:
        write(tmp_path / "files" / image.format(name), image_of(name))
        write(tmp_path / "files" / mask.format(name), classes_of(name)[None])
    build("geotiff_masks/mine", tmp_path, manual_dir=tmp_path / "files", fields=FIELDS + fields)
    area = "area/" if image.startswith("area") else ""
    expected = {f"{area}{key}": window for key, window in all_expected(names).items()}
    assert_same_windows(windows_of("geotiff_masks/mine", tmp_path), expected)


@pytest.mark.parametrize("layout", ["images/{}/{}.tif", "{}/images/{}.tif"])
def test_folders_train_val_and_test_become_splits(tmp_path, layout):
    for split, name in (("train", "a"), ("val", "b"), ("test", "d")):
        write(tmp_path / "files" / layout.format(split, name), image_of(name))
        mask = layout.replace("images", "masks").format(split, name)
        write(tmp_path / "files" / mask, classes_of(name)[None])
    build("geotiff_masks/mine", tmp_path, manual_dir=tmp_path / "files", fields=FIELDS)
    for split, key in (("train", "train/a"), ("validation", "val/b"), ("test", "test/d")):
        found = windows_of("geotiff_masks/mine", tmp_path, split)
        assert {k.rpartition("/")[0].rpartition("/")[0] for k in found} == {key}


def test_a_share_of_the_pictures_is_for_validation_and_always_the_same(tmp_path):
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
    # CRC-32 of the names: a change here would move users' pictures to the other side.
    assert sorted(validation, key=int) == ["2", "6", "13", "17", "23", "27", "33", "37"]
    for number in range(20, 40):
        (files / "images" / f"{number}.tif").unlink()
    build("geotiff_masks/fewer", tmp_path, manual_dir=files, fields=fields)
    fewer = select_subset(
        open_dataset("geotiff_masks/fewer", tmp_path), "validation"
    ).examples.example_ids()
    assert {key.decode().split("/")[0] for key in fewer} == {n for n in validation if int(n) < 20}


def test_two_workers_prepare_what_one_does(folder, prepared, tmp_path):
    again = build("geotiff_masks/mine", tmp_path, manual_dir=folder, fields=FIELDS, workers=2)
    files = sorted(again.glob("*array_record*"))
    assert files
    for file in files:
        assert file.read_bytes() == (prepared / file.relative_to(tmp_path)).read_bytes()


def broken_value(folder):
    numbers = classes_of("a")
    numbers[-1, -1] = 3
    write(folder / "masks" / "a.tif", numbers[None])
    return (
        "masks/a.tif: has pixels of value 3; expected the numbers 0 to 2 of the 3 classes, or 255"
    )


def broken_type(folder):
    write(folder / "masks" / "a.tif", classes_of("a")[None].astype(np.float32))
    return "masks/a.tif: its pixels are float32; expected whole numbers"


def broken_colours(folder):
    write(folder / "masks" / "a.tif", coloured(classes_of("a")))
    return "masks/a.tif: has 3 bands; expected 1"


def broken_size(folder):
    write(folder / "masks" / "a.tif", classes_of("a")[None, :-1])
    return "masks/a.tif: has 63 × 96 pixels; expected 64 × 96"


def broken_tif(folder):
    truncate(folder / "images" / "a.tif")
    return "images/a.tif: can't be read"


def broken_png(folder):
    """Such as GDAL takes for noise, if it isn't told not to."""
    (folder / "images" / "a.tif").unlink()
    truncate(write(folder / "images" / "a.png", image_of("a", 4), driver="PNG"))
    return "images/a.png: can't be read"


def broken_pair(folder):
    (folder / "masks" / "a.tif").rename(folder / "masks" / "z.tif")
    return "images/a.tif: has no mask; found b, z that match **/masks/**/*, expected one"


BROKEN = (
    broken_value, broken_type, broken_colours, broken_size, broken_tif, broken_png, broken_pair,
)  # fmt: skip


# In many strips the last one's mistake must keep the first one's cells out.
@pytest.mark.parametrize("strip", [blocks._STRIP_BYTES, 1])
@pytest.mark.parametrize("break_it", BROKEN)
def test_a_bad_file_is_named_and_nothing_is_left_or_it_is_skipped(
    one, tmp_path, break_it, strip, monkeypatch
):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", strip)
    write(one / "images" / "b.tif", image_of("b"))
    write(one / "masks" / "b.tif", classes_of("b")[None])
    expected = break_it(one)
    fields = (*FIELDS, "validation=0")
    assert expected in refused("geotiff_masks/mine", tmp_path / "data", one, *fields)
    done = build("geotiff_masks/mine", tmp_path, manual_dir=one, fields=fields, skip=True)
    (skipped,) = (done / "skipped.txt").read_text().splitlines()
    assert expected in skipped
    assert_same_windows(windows_of("geotiff_masks/mine", tmp_path), all_expected(["b"]))


def test_a_mask_of_numbers_where_colours_are_told_is_refused(one, tmp_path):
    message = refused("geotiff_masks/mine", tmp_path / "data", one, *COLOURED)
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
        ((*FIELDS, "bands=red,green"), "a.tif: has 4 bands; expected 2"),
        ((*FIELDS, "bands=red,green,blue,ultra"), "band 'ultra'"),
        ((*FIELDS, "images=pics/*"), "no image matches pics/*; found images/a.tif, masks/a.tif"),
        ((*FIELDS, "dtype=uint16"), "its pixels are uint8; expected uint16"),
    ],
)
def test_a_mistaken_config_is_refused(one, tmp_path, fields, message):
    assert message in refused("geotiff_masks/mine", tmp_path / "data", one, *fields)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (image_of("a", 5), "a.tif: number of bands is 5; expected 3 or 4, or --config.bands="),
        (image_of("a").astype(np.float32), "its pixels are float32; expected uint8 or uint16"),
    ],
)
def test_images_that_say_too_little_are_refused(one, tmp_path, pixels, message):
    write(one / "images" / "a.tif", pixels)
    assert message in refused("geotiff_masks/mine", tmp_path / "data", one, *FIELDS)


def test_two_files_of_a_name_are_refused(one, tmp_path):
    write(one / "images" / "a.png", image_of("a"), driver="PNG")
    message = refused("geotiff_masks/mine", tmp_path / "data", one, *FIELDS)
    assert "a.tif: matches **/images/**/* with the same name, 'a', as" in message


def test_a_picture_beside_the_folders_of_splits_is_refused(one, tmp_path):
    write(one / "images" / "train" / "b.tif", image_of("b"))
    write(one / "masks" / "train" / "b.tif", classes_of("b")[None])
    message = refused("geotiff_masks/mine", tmp_path / "data", one, *FIELDS)
    assert "images/a.tif: is in no folder of a split, as" in message


def test_a_name_and_files_are_asked_for(tmp_path):
    assert "reads files of yours; expected --manual_dir with a folder of images" in refused(
        "geotiff_masks/mine", tmp_path / "data", None, *FIELDS
    )
    assert "expected geotiff_masks/NAME, with a name of your choice" in refused(
        "geotiff_masks", tmp_path / "data", None, *FIELDS
    )


@pytest.mark.skipif(not REALDATA, reason="SSL_JAX_REALDATA is not set")
def test_a_real_scene_and_its_mask_come_back_as_they_are(tmp_path):
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
    found = windows_of("geotiff_masks/clouds", tmp_path)
    assert_same_windows(found, expected_windows("scene", image, mask, 128, 64))
    assert len(found) == 49


def test_what_lies_beyond_a_picture_is_not_measured(tmp_path):
    """A picture of 70 pixels a side is stored as cells of 50, which it fills by half."""
    pixels = random_pixels(0, 3, 70, 70)
    write(tmp_path / "files" / "images" / "a.tif", pixels)
    write(tmp_path / "files" / "masks" / "a.tif", random_classes(0, 2, 70, 70)[np.newaxis])
    fields = ["classes=one,other", "window=50", "stride=50"]
    build("geotiff_masks/mine", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    dataset = open_dataset("geotiff_masks/mine", tmp_path)
    means = [band.mean for band in dataset.sensor.bands]
    np.testing.assert_allclose(means, pixels.mean(axis=(1, 2)), rtol=1e-12)
    read = verify(dataset)["train"].moments
    assert read.pixels == 70 * 70
