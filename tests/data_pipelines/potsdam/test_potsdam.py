import shutil
import zipfile

import numpy as np
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

from data_pipelines.build import main
from data_pipelines.masked_images import blocks
from data_pipelines.potsdam.nomenclature import CLASSES, COLOURS
from data_pipelines.potsdam.potsdam import TEST, TRAIN, Potsdam
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from data_pipelines.sources.windows import WindowGrid

# Smaller than the benchmark's 6000 × 6000 pixels; one is no multiple of the block size.
SIZES = {"2_10": (900, 1200), "4_12": (600, 900), "6_7": (900, 600), "2_13": (1000, 700)}
CAR = CLASSES.index("car")
FIELDS = ("train=2_10,4_12,6_7", "test=2_13", "name=some")


def make_image(tile):
    return random_pixels(int(tile.replace("_", "")), 4, *SIZES[tile])


def make_classes(tile):
    return random_classes(int(tile.replace("_", "")), len(CLASSES), *SIZES[tile])


def make_label(tile):
    """Make a label image like the benchmark's, with the defects of two of its tiles."""
    label = paint_classes(make_classes(tile), COLOURS)
    if tile == "4_12":  # lossy compression
        noise = np.random.default_rng(0).integers(-100, 101, label.shape)
        label = (label + noise).clip(0, 255).astype(np.uint8)
    if tile == "6_7":
        label[0][make_classes(tile) == CAR] = 252
    return label


def write_tile(folder, tile, image=None, label=None):
    write(
        folder / "4_Ortho_RGBIR" / f"top_potsdam_{tile}_RGBIR.tif",
        make_image(tile) if image is None else image,
    )
    write(
        folder / "5_Labels_all" / f"top_potsdam_{tile}_label.tif",
        make_label(tile) if label is None else label,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four tiles in unpacked folders."""
    folder = tmp_path_factory.mktemp("potsdam")
    for tile in SIZES:
        write_tile(folder, tile)
    return folder


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    build("potsdam/rgbn", data_dir, manual_dir=folder, fields=FIELDS)
    return data_dir


@pytest.fixture
def one_tile(tmp_path):
    """A folder with one tile of (900, 1200) pixels, for tests to corrupt."""
    write_tile(tmp_path / "files", "2_10")
    return tmp_path / "files"


def select_tile(tile):
    return f"train={tile}", "test=", "name=one"


@pytest.mark.parametrize("tile", SIZES)
def test_windows_have_the_pixels_and_classes_of_their_image(prepared, tile):
    windows = read_windows("potsdam/some", prepared, "test" if tile == "2_13" else "train")
    tile_windows = {key: pair for key, pair in windows.items() if key.startswith(f"{tile}/")}
    classes = make_classes(tile).astype(np.uint8)
    assert_same_windows(
        tile_windows, make_expected_windows(tile, make_image(tile), classes, 600, 300)
    )


def test_the_masks_have_the_defects_of_the_benchmark():
    label_4_12, label_6_7 = make_label("4_12"), make_label("6_7")
    assert len(np.unique(label_4_12.reshape(3, -1), axis=1).T) > 24_850
    assert (label_6_7[:, make_classes("6_7") == CAR].T == (252, 255, 0)).all()


def test_the_metadata_record_the_config(prepared):
    dataset = open_dataset("potsdam/some", prepared)
    assert dataset.image_shape == (600, 600, 4)
    assert dataset.sensor.names == ("red", "green", "blue", "nir")
    assert dataset.sensor.measured
    assert dataset.classes == CLASSES
    assert dataset.classes == (
        "impervious", "building", "low_vegetation", "tree", "car", "clutter",
    )  # fmt: skip
    assert dataset.colours == COLOURS
    assert dataset.ignore_label == 255
    assert dataset.info.metadata["tiles"] == {"train": ["2_10", "4_12", "6_7"], "test": ["2_13"]}
    assert dataset.info.metadata["labels"] == "all"


def test_the_standard_splits_have_24_and_14_tiles_of_361_windows():
    assert (len(TRAIN), len(TEST)) == (24, 14)
    assert not set(TRAIN) & set(TEST)
    assert {tile.split("_")[0] for tile in TRAIN} == {tile.split("_")[0] for tile in TEST}
    assert {"2_10", "5_12", "6_7", "7_12"} <= set(TRAIN)
    assert {"2_13", "2_14", "6_15", "7_13"} <= set(TEST)
    config = Potsdam.builder_configs["rgbn"]
    windows = WindowGrid.from_pixels(config.window, config.stride).count_windows(6000) ** 2
    assert (24 * windows, 14 * windows) == (8664, 5054)


def test_a_tile_of_full_size_gives_361_windows_in_a_quarter_of_their_bytes(tmp_path):
    # For speed, each block of 300 × 300 pixels is constant, with values that identify it.
    numbers = np.arange(400, dtype=np.uint16).reshape(20, 20)
    values = np.stack([numbers % 251, numbers // 251 + 1, numbers % 7, numbers % 5])
    values = values.astype(np.uint8)
    image = values.repeat(300, 1).repeat(300, 2)
    classes = (numbers % 6).repeat(300, 0).repeat(300, 1)
    write_tile(tmp_path / "files", "7_10", image, paint_classes(classes, COLOURS))
    folder = build(
        "potsdam/rgbn", tmp_path, manual_dir=tmp_path / "files", fields=select_tile("7_10")
    )
    source = select_subset(open_dataset("potsdam/one", tmp_path), "train").examples
    assert len(source) == 361
    for position, (row, column) in enumerate(np.ndindex(19, 19)):
        corner = np.moveaxis(values[:, row : row + 2, column : column + 2], 0, -1)
        record = source[position]
        np.testing.assert_array_equal(record["image"][150::300, 150::300], corner)
        np.testing.assert_array_equal(
            record["mask"][150::300, 150::300], numbers[row : row + 2, column : column + 2] % 6
        )
    stored = sum(file.stat().st_size for file in folder.glob("*array_record*"))
    overlapping = 361 * sum(source[0][name].nbytes for name in ("image", "mask"))
    assert 0.25 < stored / overlapping < 0.29


def test_colours_of_no_class_are_unlabelled(one_tile, tmp_path):
    label, classes = make_label("2_10"), make_classes("2_10").astype(np.uint8)
    label[:, :100, :100] = np.array([255, 0, 255])[:, None, None]  # magenta
    label[:, 500:600, 700:800] = 0  # black
    classes[:100, :100] = classes[500:600, 700:800] = 255
    write_tile(one_tile, "2_10", label=label)
    build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=select_tile("2_10"))
    windows = read_windows("potsdam/one", tmp_path)
    assert_same_windows(
        windows, make_expected_windows("2_10", make_image("2_10"), classes, 600, 300)
    )


def test_black_boundaries_of_masks_are_unlabelled(one_tile, tmp_path):
    label, classes = make_label("2_10"), make_classes("2_10").astype(np.uint8)
    label[:, ::50] = 0
    classes[::50] = 255
    write(one_tile / "x" / "top_potsdam_2_10_label_noBoundary.tif", label)
    fields = (*select_tile("2_10"), "labels=noBoundary")
    build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=fields)
    windows = read_windows("potsdam/one", tmp_path)
    assert_same_windows(
        windows, make_expected_windows("2_10", make_image("2_10"), classes, 600, 300)
    )
    assert open_dataset("potsdam/one", tmp_path).info.metadata["labels"] == "noBoundary"


def test_rgb_is_read_from_rgb_files_or_else_from_rgbir_files(one_tile, tmp_path):
    write_tile(one_tile, "2_13")
    own = random_pixels(99, 3, *SIZES["2_13"])
    write(one_tile / "2_Ortho_RGB" / "top_potsdam_2_13_RGB.tif", own)
    fields = ("train=2_10", "test=2_13", "name=rgb2")
    build("potsdam/rgb", tmp_path, manual_dir=one_tile, fields=fields)
    windows = read_windows("potsdam/rgb2", tmp_path)
    expected = {}
    for tile, image in (("2_10", make_image("2_10")[:3]), ("2_13", own)):
        expected |= make_expected_windows(
            tile, image, make_classes(tile).astype(np.uint8), 600, 300
        )
    assert_same_windows(windows, expected)


def test_an_excluded_class_is_removed_and_its_pixels_are_unlabelled(one_tile, tmp_path):
    fields = (*select_tile("2_10"), "excluded=building")
    build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=fields)
    dataset = open_dataset("potsdam/one", tmp_path)
    assert dataset.classes == ("impervious", "low_vegetation", "tree", "car", "clutter")
    assert dataset.colours == COLOURS[:1] + COLOURS[2:]
    numbers = np.array([0, 255, 1, 2, 3, 4], np.uint8)[make_classes("2_10")]
    expected = make_expected_windows("2_10", make_image("2_10"), numbers, 600, 300)
    assert_same_windows(read_windows("potsdam/one", tmp_path), expected)


def test_an_excluded_tile_is_in_no_split(folder, tmp_path):
    fields = ("train=2_10,4_12", "test=2_13", "excluded_tiles=4_12", "name=fewer")
    build("potsdam/rgbn", tmp_path, manual_dir=folder, fields=fields)
    dataset = open_dataset("potsdam/fewer", tmp_path)
    assert dataset.info.metadata["tiles"] == {"train": ["2_10"], "test": ["2_13"]}
    assert len(select_subset(dataset, "train")) == 6


@pytest.mark.parametrize("top", ["", "4_Ortho_RGBIR/"])
def test_archives_need_not_be_unpacked(folder, prepared, tmp_path, top):
    archives = tmp_path / "archives" / "isprs"
    archives.mkdir(parents=True)
    for name in ("4_Ortho_RGBIR", "5_Labels_all"):
        with zipfile.ZipFile(archives / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in (folder / name).iterdir():
                archive.write(file, f"{top and name + '/'}{file.name}")
    build("potsdam/rgbn", tmp_path, manual_dir=archives.parent, fields=FIELDS)
    assert_same_windows(
        read_windows("potsdam/some", tmp_path), read_windows("potsdam/some", prepared)
    )


def test_an_unpacked_file_takes_precedence_over_an_archived_one(one_tile, prepared, tmp_path):
    other = write(tmp_path / "top_potsdam_2_10_RGBIR.tif", random_pixels(7, 4, *SIZES["2_10"]))
    for folder in ("1_first", "9_last"):
        with zipfile.ZipFile(one_tile / f"{folder}.zip", "w") as archive:
            archive.write(other, other.name)
    build("potsdam/rgbn", tmp_path / "data", manual_dir=one_tile, fields=select_tile("2_10"))
    expected = read_windows("potsdam/some", prepared)
    for key, (image, _) in read_windows("potsdam/one", tmp_path / "data").items():
        np.testing.assert_array_equal(image, expected[key][0])


def test_two_workers_write_the_same_files_as_one(folder, prepared, tmp_path):
    again = build("potsdam/rgbn", tmp_path, manual_dir=folder, fields=FIELDS, workers=2)
    first = prepared / again.relative_to(tmp_path)
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(file.name for file in again.iterdir())
    for file in first.glob("*array_record*"):
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_reading_in_strips_gives_the_same_windows(folder, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", 1)
    build("potsdam/rgbn", tmp_path, manual_dir=folder, fields=FIELDS)
    assert_same_windows(
        read_windows("potsdam/some", tmp_path), read_windows("potsdam/some", prepared)
    )


def test_a_dry_run_reports_the_number_of_windows_and_writes_nothing(folder, tmp_path, capsys):
    fields = [f"--config.{field}" for field in FIELDS]
    command = ["potsdam/rgbn", "--data_dir", str(tmp_path), "--manual_dir", str(folder), *fields]
    assert main([*command, "--dry_run"]) == 0
    output = capsys.readouterr().out
    # 2 × 3, 1 × 2 and 2 × 1 in one split, 3 × 2 in the other.
    assert "train: 3 images, 10 windows of 600 × 600 pixels" in output
    assert "test: 1 image, 6 windows" in output
    assert not list(tmp_path.rglob("*array_record*"))


def test_missing_tiles_are_named_with_the_fields_to_set_instead(folder, tmp_path):
    message = get_build_error("potsdam/rgbn", tmp_path / "data", folder)
    assert "lacks top_potsdam_2_11_RGBIR.tif, top_potsdam_2_12_RGBIR.tif" in message
    assert f"of tiles {', '.join(t for t in (*TRAIN, *TEST) if t not in SIZES)};" in message
    assert "--config.train=2_10,4_12,6_7 --config.test=2_13 --config.name=NAME" in message
    (tmp_path / "files").mkdir()
    shutil.copytree(folder / "4_Ortho_RGBIR", tmp_path / "files" / "images")
    message = get_build_error("potsdam/rgbn", tmp_path / "data", tmp_path / "files", *FIELDS)
    assert "lacks top_potsdam_2_10_label.tif" in message
    assert "found 4 of the benchmark's files" in message


def test_the_error_for_another_folder_lists_its_contents(tmp_path):
    (tmp_path / "files").mkdir()
    with zipfile.ZipFile(tmp_path / "files" / "Potsdam.zip", "w") as archive:
        archive.writestr("Potsdam/4_Ortho_RGBIR.zip", "an archive in an archive")
    message = get_build_error("potsdam/rgbn", tmp_path / "data", tmp_path / "files")
    assert "found Potsdam.zip/Potsdam/4_Ortho_RGBIR.zip (unpack archives" in message


def change_mask_size(folder):
    write_tile(folder, "2_10", label=make_label("2_10")[:, :, :-1])
    return "top_potsdam_2_10_label.tif: has 900 × 1199 pixels; expected 900 × 1200"


def remove_band(folder):
    write_tile(folder, "2_10", image=make_image("2_10")[:3])
    return "top_potsdam_2_10_RGBIR.tif: has 3 bands; expected 4"


def change_dtype(folder):
    write_tile(folder, "2_10", image=make_image("2_10").astype(np.uint16))
    return "top_potsdam_2_10_RGBIR.tif: its pixels are uint16; expected uint8"


def change_mask_bands(folder):
    write_tile(folder, "2_10", label=make_label("2_10")[:1])
    return "top_potsdam_2_10_label.tif: has 1 bands; expected 3"


def overwrite_image(folder):
    (folder / "4_Ortho_RGBIR" / "top_potsdam_2_10_RGBIR.tif").write_text("no image")
    return "top_potsdam_2_10_RGBIR.tif: can't be read"


def truncate_image(folder):
    truncate(folder / "4_Ortho_RGBIR" / "top_potsdam_2_10_RGBIR.tif")
    return "top_potsdam_2_10_RGBIR.tif: can't be read"


def truncate_mask(folder):
    truncate(folder / "5_Labels_all" / "top_potsdam_2_10_label.tif")
    return "top_potsdam_2_10_label.tif: can't be read"


CORRUPTIONS = (
    change_mask_size, remove_band, change_dtype, change_mask_bands, overwrite_image, truncate_image,
    truncate_mask,
)  # fmt: skip


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
def test_an_invalid_file_is_named_and_nothing_is_written(one_tile, tmp_path, corrupt):
    expected = corrupt(one_tile)
    message = get_build_error("potsdam/rgbn", tmp_path / "data", one_tile, *select_tile("2_10"))
    assert expected in message


@pytest.mark.parametrize("strip_bytes", [blocks._STRIP_BYTES, 1])
@pytest.mark.parametrize("corrupt", [overwrite_image, truncate_image, truncate_mask])
def test_an_invalid_tile_is_skipped_completely_and_listed_once(
    one_tile, tmp_path, corrupt, strip_bytes, monkeypatch
):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", strip_bytes)
    write_tile(one_tile, "6_7")
    write_tile(one_tile, "2_13")
    expected = corrupt(one_tile)
    fields = ("train=2_10,6_7", "test=2_13", "name=two")
    folder = build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=fields, skip=True)
    skipped = (folder / "skipped.txt").read_text().splitlines()
    assert len(skipped) == 1
    assert expected in skipped[0]
    names = {key.split("/")[0] for key in read_windows("potsdam/two", tmp_path)}
    assert names == {"6_7", "2_13"}


def test_a_repaired_file_is_read_again(one_tile, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", 1)
    truncate_image(one_tile)
    get_build_error("potsdam/rgbn", tmp_path / "data", one_tile, *select_tile("2_10"))
    write_tile(one_tile, "2_10")
    build("potsdam/rgbn", tmp_path / "data", manual_dir=one_tile, fields=select_tile("2_10"))
    assert len(read_windows("potsdam/one", tmp_path / "data")) == 6


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("labels=some", "--config.labels: found 'some'; expected all or noBoundary"),
        ("excluded=cars", "--config.excluded: found 'cars'; expected some of impervious"),
        ("excluded_tiles=9_9", "--config.excluded_tiles: found '9_9'"),
        ("test=2_10", "found tile 2_10 twice"),
        ("train=", "found no tiles"),
        ("stride=0", "--config.stride: found 0 with a window of 600"),
        ("stride=601", "--config.stride: found 601 with a window of 600"),
        ("stride=299", "which share blocks of 1 × 1 pixels; expected"),
        ("tiles=2_10", "has no field 'tiles'"),
    ],
)
def test_an_invalid_config_is_an_error(one_tile, tmp_path, field, message):
    others = [f for f in select_tile("2_10") if f.partition("=")[0] != field.partition("=")[0]]
    assert message in get_build_error("potsdam/rgbn", tmp_path / "data", one_tile, *others, field)
