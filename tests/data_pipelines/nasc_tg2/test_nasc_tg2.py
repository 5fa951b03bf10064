import shutil
from collections import Counter

import numpy as np
import pytest
from class_folder_images import (
    assert_examples_equal_files,
    load_examples,
    make_smooth_image,
    read_image,
    write_class_folders,
    write_image,
    write_zip,
)

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset

CLASSES = (
    "beach",
    "circularfarmland",
    "cloud",
    "desert",
    "forest",
    "mountain",
    "rectangularfarmland",
    "residential",
    "river",
    "snowberg",
)
PER_CLASS = 10


def write_scenes(folder, suffix, bands, dtype, count=1, classes=CLASSES):
    return write_class_folders(
        folder, classes, suffix, lambda n: make_smooth_image(n, 128, bands, dtype), count
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A downloaded copy: one archive with RGB and multispectral images."""
    folder = tmp_path_factory.mktemp("unpacked")
    rgb = write_scenes(folder / "NaSC-TG2" / "NaSC-TG2_RGB", ".jpg", 3, np.uint8, PER_CLASS)
    rgbn = write_scenes(folder / "NaSC-TG2" / "NaSC-TG2_MSI", ".tif", 4, np.uint16, PER_CLASS)
    archives = tmp_path_factory.mktemp("files")
    write_zip(folder, archives / "NASC_TG2.zip")
    return archives, rgb, rgbn


@pytest.fixture(scope="module")
def prepared(copy, tmp_path_factory):
    """Folder with the prepared datasets of both configs."""
    data_dir = tmp_path_factory.mktemp("data")
    for config in ("rgb", "rgbn"):
        build(f"nasc_tg2/{config}", data_dir, manual_dir=copy[0])
    return data_dir


def test_rgb_images_have_the_pixels_that_pillow_reads(copy, prepared):
    assert_examples_equal_files(load_examples("nasc_tg2/rgb", prepared), copy[1])


def test_rgbn_images_have_the_pixels_that_rasterio_reads(copy, prepared):
    assert_examples_equal_files(load_examples("nasc_tg2/rgbn", prepared), copy[2])


def test_statistics_are_measured_and_the_scale_is_that_of_the_dtype(copy, prepared):
    for config, scale in (("rgb", 1 / 255), ("rgbn", 1e-4)):
        dataset = open_dataset(f"nasc_tg2/{config}", prepared)
        pixels = np.stack(
            [image for image, _ in load_examples(f"nasc_tg2/{config}", prepared).values()]
        )
        sensor = dataset.sensor
        assert (sensor.name, sensor.resolution) == ("tiangong2", 100.0)
        np.testing.assert_allclose([b.mean for b in sensor.bands], pixels.mean((0, 1, 2)))
        np.testing.assert_allclose([b.std for b in sensor.bands], pixels.std((0, 1, 2)))
        assert {band.scale for band in sensor.bands} == {scale}


def test_a_split_expression_is_stratified_and_selects_the_same_scenes_in_both(prepared):
    subsets = [
        load_examples(f"nasc_tg2/{config}", prepared, "all[2:8]") for config in ("rgb", "rgbn")
    ]
    assert Counter(label for _, label in subsets[0].values()) == dict.fromkeys(CLASSES, 2)
    assert subsets[0].keys() == subsets[1].keys()


def test_two_workers_prepare_the_same_dataset_as_one(copy, prepared, tmp_path):
    build("nasc_tg2/rgb", tmp_path, manual_dir=copy[0], workers=2)
    one, two = load_examples("nasc_tg2/rgb", prepared), load_examples("nasc_tg2/rgb", tmp_path)
    assert list(one) == list(two)
    assert all(np.array_equal(one[key][0], two[key][0]) for key in one)


def test_a_dry_run_prints_used_and_unused_images(copy, tmp_path, capsys):
    arguments = ["--data_dir", str(tmp_path), "--manual_dir", str(copy[0]), "--dry_run"]
    assert main(["nasc_tg2/rgb", *arguments]) == 0
    output = capsys.readouterr().out
    assert "class folders in NASC_TG2.zip/NaSC-TG2/NaSC-TG2_RGB: beach 10, circular" in output
    assert "differences from published counts: beach 10 instead of 2,000" in output
    assert "unused in NASC_TG2.zip/NaSC-TG2/NaSC-TG2_MSI: 100 images" in output
    assert "split train: 100 examples" in output
    assert not (tmp_path / "nasc_tg2").exists()


def test_class_folders_may_be_spelled_differently_and_zipped(tmp_path):
    folders = ["Beach", "circular farmland", "CLOUD", "desert", "forest", "mountain",
               "rectangular_farmland", "Residential", "ri-ver", "snowberg"]  # fmt: skip
    classes = dict(zip(CLASSES, folders, strict=True))
    files = write_scenes(tmp_path / "unpacked", ".png", 3, np.uint8, classes=classes)
    manual_dir = tmp_path / "files"
    deep = manual_dir / "Forest" / "of folders"  # the innermost folder determines the class
    shutil.copytree(tmp_path / "unpacked", deep)
    write_zip(deep / "Beach", manual_dir / "Beach.zip")
    shutil.rmtree(deep / "Beach")
    build("nasc_tg2/rgb", tmp_path, manual_dir=manual_dir)
    assert_examples_equal_files(load_examples("nasc_tg2/rgb", tmp_path), files)


def test_rgb_and_multispectral_images_may_be_in_the_same_folders(tmp_path):
    rgb = write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    rgbn = write_scenes(tmp_path / "files", ".tif", 4, np.uint16)
    for config, files in (("rgb", rgb), ("rgbn", rgbn)):
        build(f"nasc_tg2/{config}", tmp_path, manual_dir=tmp_path / "files")
        assert_examples_equal_files(load_examples(f"nasc_tg2/{config}", tmp_path), files)


@pytest.mark.parametrize("name", ["RGBN", "rgb_nir", "RGBI", "RGBIR"])
def test_a_folder_of_rgb_and_near_infrared_is_multispectral(tmp_path, name):
    write_scenes(tmp_path / "files" / "RGB", ".tif", 3, np.uint16)
    rgbn = write_scenes(tmp_path / "files" / name, ".tif", 4, np.uint16)
    build("nasc_tg2/rgbn", tmp_path, manual_dir=tmp_path / "files")
    assert_examples_equal_files(load_examples("nasc_tg2/rgbn", tmp_path), rgbn)


def test_channels_select_bands_of_files_with_many(tmp_path):
    manual_dir = tmp_path / "files"
    files = write_scenes(manual_dir / "MS", ".tif", 14, np.uint16)
    with pytest.raises(UserError, match="has 14 bands; expected 4 for red, green, blue, nir") as e:
        build("nasc_tg2/rgbn", tmp_path, manual_dir=manual_dir)
    assert "--config.channels=… --config.dtype=… --config.name=…" in str(e.value)
    assert not list(tmp_path.rglob("*array_record*"))

    fields = ("channels=9,6,3,13", "name=mine")
    build("nasc_tg2/rgbn", tmp_path, manual_dir=manual_dir, fields=fields)
    examples = load_examples("nasc_tg2/mine", tmp_path)
    dataset = open_dataset("nasc_tg2/mine", tmp_path)
    assert dataset.sensor.names == ("red", "green", "blue", "nir")
    for key, file in files.items():
        np.testing.assert_array_equal(examples[key][0], read_image(file)[..., [8, 5, 2, 12]])


def test_folders_are_selected_by_a_part_of_their_path(tmp_path):
    write_scenes(tmp_path / "files" / "first", ".tif", 4, np.uint16)
    second = write_scenes(tmp_path / "files" / "second", ".tif", 4, np.uint8)
    fields = ("folder=SECOND", "dtype=uint8", "name=second")
    build("nasc_tg2/rgbn", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    assert_examples_equal_files(load_examples("nasc_tg2/second", tmp_path), second)


def remove(folder):
    shutil.rmtree(folder / "beach")


def empty(folder):
    (folder / "beach" / "beach_1.jpg").rename(folder / "beach" / "beach_1.bmp")


def twice(folder):
    write_image(folder / "more" / "Beach" / "beach_1.png", make_smooth_image(0, 128, 3))


def truncated(folder):
    file = folder / "forest" / "forest_1.jpg"
    file.write_bytes(file.read_bytes()[:-300])


def truncated_png(folder):
    (folder / "forest" / "forest_1.jpg").unlink()
    file = folder / "forest" / "forest_1.png"
    write_image(file, make_smooth_image(0, 128, 3))
    file.write_bytes(file.read_bytes()[:-300])


def nothing(folder):
    (folder / "forest" / "forest_1.jpg").write_bytes(b"")


def text(folder):
    (folder / "forest" / "forest_1.jpg").write_text("no image")


def small(folder):
    write_image(folder / "forest" / "forest_1.jpg", make_smooth_image(0, 100, 3))


def grey(folder):
    write_image(folder / "forest" / "forest_1.jpg", make_smooth_image(0, 128, 1))


def transparent(folder):
    (folder / "forest" / "forest_1.jpg").unlink()
    write_image(folder / "forest" / "forest_1.png", make_smooth_image(0, 128, 4))


def sixteen_bits(folder):
    for file in [*folder.rglob("*.jpg")]:
        write_image(file.with_suffix(".tif"), make_smooth_image(0, 128, 3, np.uint16))
        file.unlink()


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (remove, "lacks a folder of class beach; found those of circularfarmland, cloud"),
        (empty, r"files/beach: holds no image, .* found beach_1.bmp; expected jpg, jpeg, png"),
        (
            twice,
            r"files/more/Beach/beach_1.png: has the same name .* as .*files/beach/beach_1.jpg;",
        ),
        (truncated, "forest_1.jpg: can't be read as JPEG or PNG .*truncated"),
        (truncated_png, "forest_1.png: can't be read as JPEG or PNG .*truncated"),
        (nothing, "forest_1.jpg: is empty; expected an image"),
        (text, "forest_1.jpg: can't be read as GeoTIFF, JPEG, PNG"),
        (small, "forest_1.jpg: has 100 × 100 pixels; expected 128 × 128"),
        (grey, "forest_1.jpg: has 1 band; expected 3 for red, green, blue: .*config.channels=…"),
        (transparent, "forest_1.png: has 4 bands; expected 3 for red"),
        (sixteen_bits, "beach_1.tif: its pixels are uint16; expected uint8 .*--config.dtype=…"),
    ],
)
def test_an_error_names_the_file_and_no_dataset_is_left(tmp_path, corrupt, message):
    write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    corrupt(tmp_path / "files")
    with pytest.raises(UserError, match=message) as error:
        build("nasc_tg2/rgb", tmp_path / "data", manual_dir=tmp_path / "files")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ("rgb", "folder=other", r"no class folder in a folder whose path contains 'other'; found"),
        ("rgb", "channels=1,2", r"--config.channels: found \(1, 2\); expected 3 numbers from 1"),
        ("rgb", "channels=0,1,2", r"--config.channels: found \(0, 1, 2\); expected 3 numbers"),
        ("rgb", "channels=r,g,b", r"--config.channels: found \('r', 'g', 'b'\); expected 3"),
        (
            "rgb",
            "channels=1,2,9",
            r"has 3 bands; expected 9 for --config.channels=1,2,9",
        ),
        ("rgb", "dtype=float32", "--config.dtype: found 'float32'; expected uint8 or uint16"),
        ("rgbn", "dtype=uint8", "beach_1.jpg: has 3 bands; expected 4"),
    ],
)
def test_an_unsuitable_config_is_refused(tmp_path, config, field, message):
    write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    fields = (field, "name=mine")
    with pytest.raises(UserError, match=message):
        build(f"nasc_tg2/{config}", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    assert not list(tmp_path.rglob("*array_record*"))


def test_a_folder_without_class_folders_is_refused(tmp_path):
    write_image(tmp_path / "files" / "pictures" / "1.jpg", make_smooth_image(0, 128, 3))
    with pytest.raises(UserError, match="found images in pictures; expected the folders beach, c"):
        build("nasc_tg2/rgb", tmp_path, manual_dir=tmp_path / "files")
    (tmp_path / "files" / "pictures" / "1.jpg").unlink()
    with pytest.raises(UserError, match="holds no image; found pictures; expected the folders"):
        build("nasc_tg2/rgb", tmp_path, manual_dir=tmp_path / "files")


def test_skipped_images_are_listed(tmp_path):
    files = write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    small(tmp_path / "files")
    truncated_file = files["cloud/cloud_1"]
    truncated_file.write_bytes(truncated_file.read_bytes()[:-300])
    folder = build("nasc_tg2/rgb", tmp_path, manual_dir=tmp_path / "files", skip=True)
    skipped = (folder / "skipped.txt").read_text().splitlines()
    assert ["cloud_1.jpg" in skipped[0], "forest_1.jpg" in skipped[1]] == [True, True]
    assert load_examples("nasc_tg2/rgb", tmp_path).keys() == files.keys() - {
        "cloud/cloud_1",
        "forest/forest_1",
    }


def test_an_error_names_the_corrupt_archive(tmp_path):
    write_scenes(tmp_path / "unpacked", ".jpg", 3, np.uint8)
    archive = tmp_path / "files" / "NASC_TG2.zip"
    archive.parent.mkdir()
    write_zip(tmp_path / "unpacked", archive)
    original = archive.read_bytes()
    corrupt = bytearray(original)
    offset = original.index(b"forest_1.jpg") + 200  # inside the compressed image
    corrupt[offset : offset + 50] = bytes(50)
    for content, message in (
        (original[: len(original) // 2], "NASC_TG2.zip: is corrupt or not a complete zip archive"),
        (bytes(corrupt), "NASC_TG2.zip/forest/forest_1.jpg: can't be unpacked"),
    ):
        archive.write_bytes(content)
        with pytest.raises(UserError, match=message):
            build("nasc_tg2/rgb", tmp_path, manual_dir=archive.parent)
        assert not list(tmp_path.rglob("*array_record*"))
