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
from PIL import Image

from data_pipelines.bands import PICTURES, SENTINEL2_L2A
from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset

CLASSES = ("Forest", "Sea Lake", "annual-crop")


def write(folder, suffix=".jpg", size=32, bands=3, dtype=np.uint8, count=2, classes=CLASSES):
    return write_class_folders(
        folder, classes, suffix, lambda n: make_smooth_image(n, size, bands, dtype), count
    )


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder of three class folders with two images each, and its prepared dataset."""
    folder, data_dir = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("data")
    files = write(folder)
    build("class_folders/mine", data_dir, manual_dir=folder)
    return folder, data_dir, files


def test_bands_size_and_classes_are_inferred_from_the_files(mine):
    _, data_dir, files = mine
    assert_examples_equal_files(load_examples("class_folders/mine", data_dir), files)
    dataset = open_dataset("class_folders/mine", data_dir)
    assert (dataset.image_shape, dataset.image_dtype) == ((32, 32, 3), np.uint8)
    assert dataset.classes == tuple(sorted(CLASSES))
    assert list(dataset.splits) == ["train", "all"]


def test_bands_have_common_names_and_measured_statistics(mine):
    sensor = open_dataset("class_folders/mine", mine[1]).sensor
    assert (sensor.name, sensor.names) == ("mine", ("red", "green", "blue"))
    assert {band.scale for band in sensor.bands} == {1 / 255}
    pixels = np.stack([image for image, _ in load_examples("class_folders/mine", mine[1]).values()])
    np.testing.assert_allclose([band.mean for band in sensor.bands], pixels.mean((0, 1, 2)))


@pytest.mark.parametrize(
    ("suffix", "bands", "dtype", "names", "scale"),
    [
        (".png", 3, np.uint8, ("red", "green", "blue"), 1 / 255),
        (".tif", 4, np.uint8, ("red", "green", "blue", "nir"), 1 / 255),
        (".tif", 4, np.uint16, ("red", "green", "blue", "nir"), 1e-4),
    ],
)
def test_three_and_four_bands_need_no_names(tmp_path, suffix, bands, dtype, names, scale):
    files = write(tmp_path / "files", suffix, bands=bands, dtype=dtype)
    build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files")
    assert_examples_equal_files(load_examples("class_folders/mine", tmp_path), files)
    dataset = open_dataset("class_folders/mine", tmp_path)
    assert (dataset.image_dtype, dataset.sensor.names) == (dtype, names)
    assert {band.scale for band in dataset.sensor.bands} == {scale}


def test_16_bit_png_files_keep_their_precision(tmp_path):
    pixels = make_smooth_image(0, 32, 3, np.uint16)
    write_image(tmp_path / "files" / "forest" / "1.png", pixels)
    build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files")
    np.testing.assert_array_equal(
        load_examples("class_folders/mine", tmp_path)["forest/1"][0], pixels
    )


def test_bands_are_named_in_the_order_of_the_files(tmp_path):
    files = write(tmp_path / "files", ".tif", bands=5, dtype=np.uint16)
    fields = ("bands=swir16,nir,R,green,B", "resolution=30", "scale=2.75e-5")
    build("class_folders/landsat", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    sensor = open_dataset("class_folders/landsat", tmp_path).sensor
    assert (sensor.names, sensor.resolution) == (("swir16", "nir", "red", "green", "blue"), 30.0)
    assert {band.scale for band in sensor.bands} == {2.75e-5}
    examples = load_examples("class_folders/landsat", tmp_path, bands=("red", "nir"))
    for key, file in files.items():
        np.testing.assert_array_equal(examples[key][0], read_image(file)[..., [2, 1]])


def test_a_known_sensor_provides_bands_and_statistics(tmp_path):
    write(tmp_path / "files", ".tif", bands=3, dtype=np.uint16)
    fields = ("sensor=sentinel2_l2a", "bands=B8A,B04,swir22")
    build("class_folders/s2", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    sensor = open_dataset("class_folders/s2", tmp_path).sensor
    assert sensor == SENTINEL2_L2A.select(("nir08", "red", "swir22"))


def test_statistics_in_other_digital_numbers_are_not_reused(tmp_path):
    write(tmp_path / "files", ".tif", bands=3, dtype=np.uint16)
    fields = ("sensor=pictures",)
    build("class_folders/deep", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    sensor = open_dataset("class_folders/deep", tmp_path).sensor
    assert (sensor.name, sensor.bands[0].scale) == ("pictures", 1e-4)
    assert sensor.bands[0].mean > 100 * PICTURES.bands[0].mean


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "TEST")])
def test_split_folders_become_splits(tmp_path, names):
    files = [
        write(tmp_path / "files" / "deep" / name, count=1 + i, classes=CLASSES[: 3 - i])
        for i, name in enumerate(names)
    ]
    build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files")
    dataset = open_dataset("class_folders/mine", tmp_path)
    assert dataset.classes == tuple(sorted(CLASSES))  # although not every split has all of them
    for split, of_split in zip(("train", "validation", "test"), files, strict=True):
        assert_examples_equal_files(load_examples("class_folders/mine", tmp_path, split), of_split)


def test_split_and_class_folders_may_be_zip_archives(tmp_path):
    files = write(tmp_path / "unpacked" / "train")
    of_test = write(tmp_path / "unpacked" / "test", count=1)
    (tmp_path / "files" / "test").mkdir(parents=True)
    write_zip(tmp_path / "unpacked" / "train", tmp_path / "files" / "train.zip")
    for name in CLASSES:
        archive = tmp_path / "files" / "test" / f"{name}.zip"
        write_zip(tmp_path / "unpacked" / "test" / name, archive)
    build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files")
    assert_examples_equal_files(load_examples("class_folders/mine", tmp_path, "train"), files)
    assert_examples_equal_files(load_examples("class_folders/mine", tmp_path, "test"), of_test)


def test_a_replaced_archive_is_read_again(tmp_path):
    (tmp_path / "files").mkdir()
    for count, classes in ((2, CLASSES), (3, CLASSES[1:])):
        files = write(tmp_path / f"unpacked{count}", count=count, classes=classes)
        write_zip(tmp_path / f"unpacked{count}", tmp_path / "files" / "mine.zip")
        build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files", overwrite=True)
        assert_examples_equal_files(load_examples("class_folders/mine", tmp_path), files)


def test_classes_and_their_order_may_be_set(mine, tmp_path):
    fields = ("classes=annual-crop,Forest",)
    build("class_folders/two", tmp_path, manual_dir=mine[0], fields=fields)
    expected = {key: file for key, file in mine[2].items() if not key.startswith("Sea")}
    assert_examples_equal_files(load_examples("class_folders/two", tmp_path), expected)
    assert open_dataset("class_folders/two", tmp_path).classes == ("annual-crop", "Forest")


def test_a_dry_run_prints_the_inferred_format(mine, tmp_path, capsys):
    arguments = ["--data_dir", str(tmp_path), "--manual_dir", str(mine[0]), "--dry_run"]
    assert main(["class_folders/other", *arguments]) == 0
    output = capsys.readouterr().out
    assert "images: 32 × 32 pixels" in output
    assert "bands: red from band 1, green from band 2, blue from band 3 (assumed" in output
    assert "numbers: uint8, of 1/255 each (assumed)" in output
    assert "class folders in .: Forest 2, Sea Lake 2, annual-crop 2" in output
    assert "split train: 6 examples" in output
    assert not list(tmp_path.rglob("*array_record*"))


def test_the_format_is_inferred_from_the_first_readable_image(tmp_path):
    files = write(tmp_path / "files")
    files["Forest/Forest_1"].write_bytes(files["Forest/Forest_1"].read_bytes()[:400])
    with pytest.raises(UserError, match=r"Forest_1.jpg: can't be read"):
        build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files")
    build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files", skip=True)
    del files["Forest/Forest_1"]
    assert_examples_equal_files(load_examples("class_folders/mine", tmp_path), files)


def no_class_folder(folder):
    for file in [*folder.rglob("*.jpg")]:
        file.rename(folder / file.name)


def stray(folder):
    write_image(folder / "overview.jpg", make_smooth_image(0, 32, 3))


def empty(folder):
    (folder / "meadow").mkdir()
    (folder / "meadow" / "list.txt").touch()


def other_size(folder):
    write_image(folder / "Sea Lake" / "big.jpg", make_smooth_image(0, 40, 3))


def other_bands(folder):
    write_image(folder / "Sea Lake" / "grey.jpg", make_smooth_image(0, 32, 1))


def other_dtype(folder):
    write_image(folder / "Sea Lake" / "deep.tif", make_smooth_image(0, 32, 3, np.uint16))


def same_name(folder):
    write_image(folder / "more" / "Forest" / "Forest_1.png", make_smooth_image(0, 32, 3))


def partly_split(folder):
    write_image(folder / "test" / "Forest" / "1.jpg", make_smooth_image(0, 32, 3))


def unlabelled_split(folder):
    write_image(folder / "test" / "1.jpg", make_smooth_image(0, 32, 3))


def palette(folder):
    image = Image.fromarray(make_smooth_image(0, 32, 3)).quantize(16)
    image.save(folder / "Forest" / "palette.png")


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (no_class_folder, "found images, such as Forest_1.jpg, and no class folder"),
        (stray, "overview.jpg: is beside the folder Forest, which also holds images"),
        (empty, "files/meadow: holds no image, .*; found list.txt; expected jpg"),
        (other_size, "Sea Lake/big.jpg: has 40 × 40 pixels; expected 32 × 32"),
        (other_bands, "Sea Lake/grey.jpg: has 1 band; expected 3"),
        (other_dtype, "Sea Lake/deep.tif: its pixels are uint16; expected uint8"),
        (same_name, "more/Forest/Forest_1.png: has the same name and class as .*/Forest_1.jpg"),
        (partly_split, "test/Forest/1.jpg is in a split, .*Forest_1.jpg in none"),
        (unlabelled_split, "test/1.jpg: is in the folder test, which is a split"),
        (palette, "palette.png: found the colour mode P; expected"),
    ],
)
def test_an_error_names_the_file_and_no_dataset_is_left(tmp_path, corrupt, message):
    write(tmp_path / "files")
    corrupt(tmp_path / "files")
    with pytest.raises(UserError, match=message) as error:
        build("class_folders/mine", tmp_path / "data", manual_dir=tmp_path / "files")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((), "Forest_1.tif: number of bands is 2; expected 3 or 4, or --config.bands=…"),
        (("bands=B04,B08",), "band 'B04': sensor common_bands does not have it; it has coastal"),
        (("bands=red,nir", "sensor=landsat"), "--config.sensor: found 'landsat'; expected one of"),
        (("bands=red,nir", "sensor=pictures"), "band 'nir': sensor pictures does not have it"),
        (("bands=red,green,blue",), "Forest_1.tif: has 2 bands; expected 3"),
        (("bands=red,nir", "dtype=int16"), "Forest_1.tif: its pixels are uint8; expected int16"),
        (("bands=red,nir", "dtype=text"), "--config.dtype: found 'text'; expected uint8 or uint16"),
        (("bands=red,nir", "fit=squeeze"), "--config.fit: found 'squeeze'; expected one of refuse"),
        (("bands=red,nir", "classes=Forest,forest"), "expected names that differ by more than"),
        (("bands=red,nir", "classes=Forest,sea"), "lacks a folder of class sea; found those of F"),
    ],
)
def test_an_unsuitable_config_is_refused(tmp_path, fields, message):
    write(tmp_path / "files", ".tif", bands=2)
    with pytest.raises(UserError, match=message):
        build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files", fields=fields)
    assert not list(tmp_path.rglob("*array_record*"))


def test_float_and_non_square_images_are_refused(tmp_path):
    write_image(tmp_path / "files" / "forest" / "1.tif", np.ones((32, 32, 3), np.float32))
    with pytest.raises(UserError, match=r"1.tif: its pixels are float32, 1 to 1; expected uint8"):
        build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files")
    write_image(tmp_path / "files" / "forest" / "1.tif", np.ones((32, 30, 3), np.uint8))
    with pytest.raises(UserError, match=r"1.tif: has 32 × 30 pixels, as most images; expected squ"):
        build("class_folders/mine", tmp_path, manual_dir=tmp_path / "files")


def test_a_name_and_a_folder_are_required(mine, tmp_path):
    with pytest.raises(UserError, match="expected class_folders/NAME, with a name of your choice"):
        build("class_folders", tmp_path, manual_dir=mine[0])
    with pytest.raises(UserError, match="expected --manual_dir with a folder of class folders"):
        build("class_folders/mine", tmp_path)
