import shutil
from collections import Counter

import numpy as np
import pytest
from class_trees import assert_holds, read_image, smooth, stored, write_classes, write_image, zipped

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
    return write_classes(folder, classes, suffix, lambda n: smooth(n, 128, bands, dtype), count)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy as it is downloaded: one archive with pictures beside multispectral files."""
    folder = tmp_path_factory.mktemp("unpacked")
    rgb = write_scenes(folder / "NaSC-TG2" / "NaSC-TG2_RGB", ".jpg", 3, np.uint8, PER_CLASS)
    rgbn = write_scenes(folder / "NaSC-TG2" / "NaSC-TG2_MSI", ".tif", 4, np.uint16, PER_CLASS)
    archives = tmp_path_factory.mktemp("files")
    zipped(folder, archives / "NASC_TG2.zip")
    return archives, rgb, rgbn


@pytest.fixture(scope="module")
def prepared(copy, tmp_path_factory):
    """Where both configs were prepared of it."""
    data_dir = tmp_path_factory.mktemp("data")
    for config in ("rgb", "rgbn"):
        build(f"nasc_tg2/{config}", data_dir, manual_dir=copy[0])
    return data_dir


def test_rgb_holds_the_pictures_as_pillow_reads_them(copy, prepared):
    assert_holds(stored("nasc_tg2/rgb", prepared), copy[1])


def test_rgbn_holds_the_multispectral_files_as_rasterio_reads_them(copy, prepared):
    assert_holds(stored("nasc_tg2/rgbn", prepared), copy[2])


def test_statistics_are_measured_and_the_scale_is_that_of_the_dtype(copy, prepared):
    for config, scale in (("rgb", 1 / 255), ("rgbn", 1e-4)):
        dataset = open_dataset(f"nasc_tg2/{config}", prepared)
        pixels = np.stack([image for image, _ in stored(f"nasc_tg2/{config}", prepared).values()])
        sensor = dataset.sensor
        assert (sensor.name, sensor.resolution) == ("tiangong2", 100.0)
        np.testing.assert_allclose([b.mean for b in sensor.bands], pixels.mean((0, 1, 2)))
        np.testing.assert_allclose([b.std for b in sensor.bands], pixels.std((0, 1, 2)))
        assert {band.scale for band in sensor.bands} == {scale}


def test_a_cut_has_its_share_of_every_class_and_is_the_same_in_both(prepared):
    cuts = [stored(f"nasc_tg2/{config}", prepared, "all[2:8]") for config in ("rgb", "rgbn")]
    assert Counter(label for _, label in cuts[0].values()) == dict.fromkeys(CLASSES, 2)
    assert cuts[0].keys() == cuts[1].keys()


def test_two_workers_prepare_what_one_does(copy, prepared, tmp_path):
    build("nasc_tg2/rgb", tmp_path, manual_dir=copy[0], workers=2)
    one, two = stored("nasc_tg2/rgb", prepared), stored("nasc_tg2/rgb", tmp_path)
    assert list(one) == list(two)
    assert all(np.array_equal(one[key][0], two[key][0]) for key in one)


def test_a_dry_run_says_what_was_found_and_what_is_not_used(copy, tmp_path, capsys):
    arguments = ["--data_dir", str(tmp_path), "--manual_dir", str(copy[0]), "--dry_run"]
    assert main(["nasc_tg2/rgb", *arguments]) == 0
    said = capsys.readouterr().out
    assert "class folders in NASC_TG2.zip/NaSC-TG2/NaSC-TG2_RGB: beach 10, circular" in said
    assert "other than published: beach 10 instead of 2,000" in said
    assert "not used in NASC_TG2.zip/NaSC-TG2/NaSC-TG2_MSI: 100 images" in said
    assert "split train: 100 examples" in said
    assert not (tmp_path / "nasc_tg2").exists()


def test_class_folders_go_by_other_spellings_and_may_be_archives(tmp_path):
    spelled = ["Beach", "circular farmland", "CLOUD", "desert", "forest", "mountain",
               "rectangular_farmland", "Residential", "ri-ver", "snowberg"]  # fmt: skip
    classes = dict(zip(CLASSES, spelled, strict=True))
    files = write_scenes(tmp_path / "unpacked", ".png", 3, np.uint8, classes=classes)
    manual_dir = tmp_path / "files"
    deep = manual_dir / "Forest" / "of folders"  # the innermost name counts
    shutil.copytree(tmp_path / "unpacked", deep)
    zipped(deep / "Beach", manual_dir / "Beach.zip")
    shutil.rmtree(deep / "Beach")
    build("nasc_tg2/rgb", tmp_path, manual_dir=manual_dir)
    assert_holds(stored("nasc_tg2/rgb", tmp_path), files)


def test_pictures_and_multispectral_files_may_lie_in_one_folder(tmp_path):
    rgb = write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    rgbn = write_scenes(tmp_path / "files", ".tif", 4, np.uint16)
    for config, files in (("rgb", rgb), ("rgbn", rgbn)):
        build(f"nasc_tg2/{config}", tmp_path, manual_dir=tmp_path / "files")
        assert_holds(stored(f"nasc_tg2/{config}", tmp_path), files)


@pytest.mark.parametrize("name", ["RGBN", "rgb_nir", "RGBI", "RGBIR"])
def test_a_folder_with_near_infrared_is_none_of_pictures(tmp_path, name):
    write_scenes(tmp_path / "files" / "RGB", ".tif", 3, np.uint16)
    rgbn = write_scenes(tmp_path / "files" / name, ".tif", 4, np.uint16)
    build("nasc_tg2/rgbn", tmp_path, manual_dir=tmp_path / "files")
    assert_holds(stored("nasc_tg2/rgbn", tmp_path), rgbn)


def test_of_many_channels_the_user_says_which_they_are(tmp_path):
    manual_dir = tmp_path / "files"
    files = write_scenes(manual_dir / "MS", ".tif", 14, np.uint16)
    with pytest.raises(UserError, match="has 14 bands; expected 4 for red, green, blue, nir") as e:
        build("nasc_tg2/rgbn", tmp_path, manual_dir=manual_dir)
    assert "--config.channels=… --config.dtype=… --config.name=…" in str(e.value)
    assert not list(tmp_path.rglob("*array_record*"))

    fields = ("channels=9,6,3,13", "name=mine")
    build("nasc_tg2/rgbn", tmp_path, manual_dir=manual_dir, fields=fields)
    found = stored("nasc_tg2/mine", tmp_path)
    whole = open_dataset("nasc_tg2/mine", tmp_path)
    assert whole.sensor.names == ("red", "green", "blue", "nir")
    for key, file in files.items():
        np.testing.assert_array_equal(found[key][0], read_image(file)[..., [8, 5, 2, 12]])


def test_a_folder_is_chosen_by_a_part_of_its_path(tmp_path):
    write_scenes(tmp_path / "files" / "first", ".tif", 4, np.uint16)
    second = write_scenes(tmp_path / "files" / "second", ".tif", 4, np.uint8)
    fields = ("folder=SECOND", "dtype=uint8", "name=second")
    build("nasc_tg2/rgbn", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    assert_holds(stored("nasc_tg2/second", tmp_path), second)


def remove(folder):
    shutil.rmtree(folder / "beach")


def empty(folder):
    (folder / "beach" / "beach_1.jpg").rename(folder / "beach" / "beach_1.bmp")


def twice(folder):
    write_image(folder / "more" / "Beach" / "beach_1.png", smooth(0, 128, 3))


def truncated(folder):
    file = folder / "forest" / "forest_1.jpg"
    file.write_bytes(file.read_bytes()[:-300])


def truncated_png(folder):
    (folder / "forest" / "forest_1.jpg").unlink()
    file = folder / "forest" / "forest_1.png"
    write_image(file, smooth(0, 128, 3))
    file.write_bytes(file.read_bytes()[:-300])


def nothing(folder):
    (folder / "forest" / "forest_1.jpg").write_bytes(b"")


def text(folder):
    (folder / "forest" / "forest_1.jpg").write_text("no image")


def small(folder):
    write_image(folder / "forest" / "forest_1.jpg", smooth(0, 100, 3))


def grey(folder):
    write_image(folder / "forest" / "forest_1.jpg", smooth(0, 128, 1))


def transparent(folder):
    (folder / "forest" / "forest_1.jpg").unlink()
    write_image(folder / "forest" / "forest_1.png", smooth(0, 128, 4))


def sixteen_bits(folder):
    for file in [*folder.rglob("*.jpg")]:
        write_image(file.with_suffix(".tif"), smooth(0, 128, 3, np.uint16))
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "lacks a folder of class beach; found those of circularfarmland, cloud"),
        (empty, r"files/beach: holds no image, .* found beach_1.bmp, expected jpg, jpeg, png"),
        (twice, r"files/more/Beach/beach_1.png: has the name .* of .*files/beach/beach_1.jpg;"),
        (truncated, "forest_1.jpg: can't be read as JPEG or PNG .*truncated"),
        (truncated_png, "forest_1.png: can't be read as JPEG or PNG .*truncated"),
        (nothing, "forest_1.jpg: is empty; get it again"),
        (text, "forest_1.jpg: can't be read as GeoTIFF, JPEG or PNG"),
        (small, "forest_1.jpg: has 100 × 100 pixels; expected 128 × 128"),
        (grey, "forest_1.jpg: has 1 band; expected 3 for red, green, blue: .*config.channels=…"),
        (transparent, "forest_1.png: has the colour mode RGBA; expected"),
        (sixteen_bits, "beach_1.tif: its pixels are uint16; expected uint8 .*--config.dtype=…"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(tmp_path, damage, message):
    write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    damage(tmp_path / "files")
    with pytest.raises(UserError, match=message) as error_message:
        build("nasc_tg2/rgb", tmp_path / "data", manual_dir=tmp_path / "files")
    assert "\n" not in str(error_message.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ("rgb", "folder=other", r"no class folder in a folder whose path contains 'other'; found"),
        ("rgb", "channels=1,2", r"--config.channels: found \(1, 2\); expected 3 numbers from 1"),
        ("rgb", "channels=0,1,2", r"--config.channels: found \(0, 1, 2\); expected 3 numbers"),
        ("rgb", "channels=r,g,b", r"--config.channels: found \('r', 'g', 'b'\); expected 3"),
        ("rgb", "channels=1,2,9", r"beach_1.jpg: has 3 bands; expected 9 for red, green, blue"),
        ("rgb", "dtype=float32", "--config.dtype: found 'float32'; expected uint8 or uint16"),
        ("rgbn", "dtype=uint8", "beach_1.jpg: has 3 bands; expected 4"),
    ],
)
def test_a_config_that_does_not_fit_is_told(tmp_path, config, field, message):
    write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    fields = (field, "name=mine")
    with pytest.raises(UserError, match=message):
        build(f"nasc_tg2/{config}", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    assert not list(tmp_path.rglob("*array_record*"))


def test_a_folder_without_class_folders_is_told(tmp_path):
    write_image(tmp_path / "files" / "pictures" / "1.jpg", smooth(0, 128, 3))
    with pytest.raises(UserError, match="found images in pictures, expected the folders beach, c"):
        build("nasc_tg2/rgb", tmp_path, manual_dir=tmp_path / "files")
    (tmp_path / "files" / "pictures" / "1.jpg").unlink()
    with pytest.raises(UserError, match="holds no image; found pictures, expected the folders"):
        build("nasc_tg2/rgb", tmp_path, manual_dir=tmp_path / "files")


def test_what_is_skipped_is_listed(tmp_path):
    files = write_scenes(tmp_path / "files", ".jpg", 3, np.uint8)
    small(tmp_path / "files")
    truncated_file = files["cloud/cloud_1"]
    truncated_file.write_bytes(truncated_file.read_bytes()[:-300])
    folder = build("nasc_tg2/rgb", tmp_path, manual_dir=tmp_path / "files", skip=True)
    skipped = (folder / "skipped.txt").read_text().splitlines()
    assert ["cloud_1.jpg" in skipped[0], "forest_1.jpg" in skipped[1]] == [True, True]
    assert stored("nasc_tg2/rgb", tmp_path).keys() == files.keys() - {
        "cloud/cloud_1",
        "forest/forest_1",
    }


def test_a_damaged_archive_is_named(tmp_path):
    write_scenes(tmp_path / "unpacked", ".jpg", 3, np.uint8)
    archive = tmp_path / "files" / "NASC_TG2.zip"
    archive.parent.mkdir()
    zipped(tmp_path / "unpacked", archive)
    whole = archive.read_bytes()
    damaged = bytearray(whole)
    at = whole.index(b"forest_1.jpg") + 200  # inside of the compressed picture
    damaged[at : at + 50] = bytes(50)
    for content, message in (
        (whole[: len(whole) // 2], "NASC_TG2.zip: isn't a whole zip archive"),
        (bytes(damaged), "NASC_TG2.zip/forest/forest_1.jpg: can't be unpacked"),
    ):
        archive.write_bytes(content)
        with pytest.raises(UserError, match=message):
            build("nasc_tg2/rgb", tmp_path, manual_dir=archive.parent)
        assert not list(tmp_path.rglob("*array_record*"))
