import shutil
import zipfile

import numpy as np
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

from data_pipelines.build import main
from data_pipelines.masked_images import blocks
from data_pipelines.potsdam.nomenclature import CLASSES, COLOURS
from data_pipelines.potsdam.potsdam import TEST, TRAIN, Potsdam
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from data_pipelines.sources.windows import WindowGrid

# Smaller than the benchmark's 6000 × 6000 pixels, and one is no multiple of a cell.
SIZES = {"2_10": (900, 1200), "4_12": (600, 900), "6_7": (900, 600), "2_13": (1000, 700)}
CAR = CLASSES.index("car")
CHOICE = ("train=2_10,4_12,6_7", "test=2_13", "name=some")


def image_of(tile):
    return random_pixels(int(tile.replace("_", "")), 4, *SIZES[tile])


def classes_of(tile):
    return random_classes(int(tile.replace("_", "")), len(CLASSES), *SIZES[tile])


def label_of(tile):
    """As the benchmark has it, with what is wrong with two of its tiles."""
    label = painted(classes_of(tile), COLOURS)
    if tile == "4_12":  # compressed with losses
        noise = np.random.default_rng(0).integers(-100, 101, label.shape)
        label = (label + noise).clip(0, 255).astype(np.uint8)
    if tile == "6_7":
        label[0][classes_of(tile) == CAR] = 252
    return label


def write_tile(folder, tile, image=None, label=None):
    write(
        folder / "4_Ortho_RGBIR" / f"top_potsdam_{tile}_RGBIR.tif",
        image_of(tile) if image is None else image,
    )
    write(
        folder / "5_Labels_all" / f"top_potsdam_{tile}_label.tif",
        label_of(tile) if label is None else label,
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
    build("potsdam/rgbn", data_dir, manual_dir=folder, fields=CHOICE)
    return data_dir


@pytest.fixture
def one_tile(tmp_path):
    """A folder with one tile of (900, 1200) pixels, to be spoilt."""
    write_tile(tmp_path / "files", "2_10")
    return tmp_path / "files"


def only(tile):
    return f"train={tile}", "test=", "name=one"


@pytest.mark.parametrize("tile", SIZES)
def test_windows_show_the_pixels_and_classes_of_their_picture(prepared, tile):
    found = windows_of("potsdam/some", prepared, "test" if tile == "2_13" else "train")
    of_tile = {key: window for key, window in found.items() if key.startswith(f"{tile}/")}
    classes = classes_of(tile).astype(np.uint8)
    assert_same_windows(of_tile, expected_windows(tile, image_of(tile), classes, 600, 300))


def test_the_masks_are_as_hard_to_read_as_the_benchmarks():
    of_4_12, of_6_7 = label_of("4_12"), label_of("6_7")
    assert len(np.unique(of_4_12.reshape(3, -1), axis=1).T) > 24_850
    assert (of_6_7[:, classes_of("6_7") == CAR].T == (252, 255, 0)).all()


def test_the_dataset_says_what_was_chosen(prepared):
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


def test_the_standard_split_is_24_and_14_tiles_and_361_windows_each():
    assert (len(TRAIN), len(TEST)) == (24, 14)
    assert not set(TRAIN) & set(TEST)
    assert {tile.split("_")[0] for tile in TRAIN} == {tile.split("_")[0] for tile in TEST}
    assert {"2_10", "5_12", "6_7", "7_12"} <= set(TRAIN)
    assert {"2_13", "2_14", "6_15", "7_13"} <= set(TEST)
    config = Potsdam.builder_configs["rgbn"]
    windows = WindowGrid.from_pixels(config.window, config.stride).count(6000) ** 2
    assert (24 * windows, 14 * windows) == (8664, 5054)


def test_a_tile_of_real_size_becomes_361_windows_in_a_quarter_of_their_bytes(tmp_path):
    # Blocks, for speed: every one of the 300 × 300 pixels of a cell has the cell's own value.
    place = np.arange(400, dtype=np.uint16).reshape(20, 20)
    cells_ = np.stack([place % 251, place // 251 + 1, place % 7, place % 5]).astype(np.uint8)
    image = cells_.repeat(300, 1).repeat(300, 2)
    classes = (place % 6).repeat(300, 0).repeat(300, 1)
    write_tile(tmp_path / "files", "7_10", image, painted(classes, COLOURS))
    folder = build("potsdam/rgbn", tmp_path, manual_dir=tmp_path / "files", fields=only("7_10"))
    source = select_subset(open_dataset("potsdam/one", tmp_path), "train").examples
    assert len(source) == 361
    for position, (row, column) in enumerate(np.ndindex(19, 19)):
        corner = np.moveaxis(cells_[:, row : row + 2, column : column + 2], 0, -1)
        record = source[position]
        np.testing.assert_array_equal(record["image"][150::300, 150::300], corner)
        np.testing.assert_array_equal(
            record["mask"][150::300, 150::300], place[row : row + 2, column : column + 2] % 6
        )
    stored = sum(file.stat().st_size for file in folder.glob("*array_record*"))
    overlapping = 361 * sum(source[0][name].nbytes for name in ("image", "mask"))
    assert 0.25 < stored / overlapping < 0.29


def test_colours_of_no_class_are_ignored(one_tile, tmp_path):
    label, classes = label_of("2_10"), classes_of("2_10").astype(np.uint8)
    label[:, :100, :100] = np.array([255, 0, 255])[:, None, None]  # magenta
    label[:, 500:600, 700:800] = 0  # black
    classes[:100, :100] = classes[500:600, 700:800] = 255
    write_tile(one_tile, "2_10", label=label)
    build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=only("2_10"))
    found = windows_of("potsdam/one", tmp_path)
    assert_same_windows(found, expected_windows("2_10", image_of("2_10"), classes, 600, 300))


def test_masks_without_boundaries_are_black_there_and_black_is_ignored(one_tile, tmp_path):
    label, classes = label_of("2_10"), classes_of("2_10").astype(np.uint8)
    label[:, ::50] = 0
    classes[::50] = 255
    write(one_tile / "x" / "top_potsdam_2_10_label_noBoundary.tif", label)
    fields = (*only("2_10"), "labels=noBoundary")
    build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=fields)
    found = windows_of("potsdam/one", tmp_path)
    assert_same_windows(found, expected_windows("2_10", image_of("2_10"), classes, 600, 300))
    assert open_dataset("potsdam/one", tmp_path).info.metadata["labels"] == "noBoundary"


def test_rgb_is_of_its_own_files_or_else_of_the_rgbir_ones(one_tile, tmp_path):
    write_tile(one_tile, "2_13")
    own = random_pixels(99, 3, *SIZES["2_13"])
    write(one_tile / "2_Ortho_RGB" / "top_potsdam_2_13_RGB.tif", own)
    fields = ("train=2_10", "test=2_13", "name=rgb2")
    build("potsdam/rgb", tmp_path, manual_dir=one_tile, fields=fields)
    found = windows_of("potsdam/rgb2", tmp_path)
    expected = {}
    for tile, image in (("2_10", image_of("2_10")[:3]), ("2_13", own)):
        expected |= expected_windows(tile, image, classes_of(tile).astype(np.uint8), 600, 300)
    assert_same_windows(found, expected)


def test_an_excluded_class_is_none_and_its_pixels_are_ignored(one_tile, tmp_path):
    fields = (*only("2_10"), "excluded=building")
    build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=fields)
    dataset = open_dataset("potsdam/one", tmp_path)
    assert dataset.classes == ("impervious", "low_vegetation", "tree", "car", "clutter")
    assert dataset.colours == COLOURS[:1] + COLOURS[2:]
    numbers = np.array([0, 255, 1, 2, 3, 4], np.uint8)[classes_of("2_10")]
    expected = expected_windows("2_10", image_of("2_10"), numbers, 600, 300)
    assert_same_windows(windows_of("potsdam/one", tmp_path), expected)


def test_an_excluded_tile_is_in_no_split(folder, tmp_path):
    fields = ("train=2_10,4_12", "test=2_13", "excluded_tiles=4_12", "name=less")
    build("potsdam/rgbn", tmp_path, manual_dir=folder, fields=fields)
    dataset = open_dataset("potsdam/less", tmp_path)
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
    build("potsdam/rgbn", tmp_path, manual_dir=archives.parent, fields=CHOICE)
    assert_same_windows(windows_of("potsdam/some", tmp_path), windows_of("potsdam/some", prepared))


def test_an_unpacked_file_is_preferred_to_one_in_an_archive(one_tile, prepared, tmp_path):
    other = write(tmp_path / "top_potsdam_2_10_RGBIR.tif", random_pixels(7, 4, *SIZES["2_10"]))
    for folder in ("1_first", "9_last"):
        with zipfile.ZipFile(one_tile / f"{folder}.zip", "w") as archive:
            archive.write(other, other.name)
    build("potsdam/rgbn", tmp_path / "data", manual_dir=one_tile, fields=only("2_10"))
    expected = windows_of("potsdam/some", prepared)
    for key, (image, _) in windows_of("potsdam/one", tmp_path / "data").items():
        np.testing.assert_array_equal(image, expected[key][0])


def test_two_workers_prepare_what_one_does(folder, prepared, tmp_path):
    again = build("potsdam/rgbn", tmp_path, manual_dir=folder, fields=CHOICE, workers=2)
    first = prepared / again.relative_to(tmp_path)
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(file.name for file in again.iterdir())
    for file in first.glob("*array_record*"):
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_strips_of_a_picture_come_to_the_same(folder, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", 1)
    build("potsdam/rgbn", tmp_path, manual_dir=folder, fields=CHOICE)
    assert_same_windows(windows_of("potsdam/some", tmp_path), windows_of("potsdam/some", prepared))


def test_a_dry_run_counts_windows_and_reads_none(folder, tmp_path, capsys):
    fields = [f"--config.{field}" for field in CHOICE]
    command = ["potsdam/rgbn", "--data_dir", str(tmp_path), "--manual_dir", str(folder), *fields]
    assert main([*command, "--dry_run"]) == 0
    told = capsys.readouterr().out
    # 2 × 3, 1 × 2 and 2 × 1 in one split, 3 × 2 in the other.
    assert "train: 3 pictures, 10 windows of 600 × 600 pixels" in told
    assert "test: 1 picture, 6 windows" in told
    assert not list(tmp_path.rglob("*array_record*"))


def test_missing_tiles_are_named_with_what_to_write_instead(folder, tmp_path):
    message = refused("potsdam/rgbn", tmp_path / "data", folder)
    assert "lacks top_potsdam_2_11_RGBIR.tif, top_potsdam_2_12_RGBIR.tif" in message
    assert f"of tiles {', '.join(t for t in (*TRAIN, *TEST) if t not in SIZES)};" in message
    assert "--config.train=2_10,4_12,6_7 --config.test=2_13 --config.name=NAME" in message
    (tmp_path / "files").mkdir()
    shutil.copytree(folder / "4_Ortho_RGBIR", tmp_path / "files" / "images")
    message = refused("potsdam/rgbn", tmp_path / "data", tmp_path / "files", *CHOICE)
    assert "lacks top_potsdam_2_10_label.tif" in message
    assert "found 4 of the benchmark's files" in message


def test_a_folder_of_something_else_is_told_what_it_holds(tmp_path):
    (tmp_path / "files").mkdir()
    with zipfile.ZipFile(tmp_path / "files" / "Potsdam.zip", "w") as archive:
        archive.writestr("Potsdam/4_Ortho_RGBIR.zip", "an archive in an archive")
    message = refused("potsdam/rgbn", tmp_path / "data", tmp_path / "files")
    assert "found Potsdam.zip/Potsdam/4_Ortho_RGBIR.zip (unpack archives" in message


def spoilt_size(folder):
    write_tile(folder, "2_10", label=label_of("2_10")[:, :, :-1])
    return "top_potsdam_2_10_label.tif: has 900 × 1199 pixels; expected 900 × 1200"


def spoilt_bands(folder):
    write_tile(folder, "2_10", image=image_of("2_10")[:3])
    return "top_potsdam_2_10_RGBIR.tif: has 3 bands; expected 4"


def spoilt_dtype(folder):
    write_tile(folder, "2_10", image=image_of("2_10").astype(np.uint16))
    return "top_potsdam_2_10_RGBIR.tif: its pixels are uint16; expected uint8"


def spoilt_mask(folder):
    write_tile(folder, "2_10", label=label_of("2_10")[:1])
    return "top_potsdam_2_10_label.tif: has 1 bands; expected 3"


def spoilt_file(folder):
    (folder / "4_Ortho_RGBIR" / "top_potsdam_2_10_RGBIR.tif").write_text("no image")
    return "top_potsdam_2_10_RGBIR.tif: can't be read"


def spoilt_end(folder):
    truncate(folder / "4_Ortho_RGBIR" / "top_potsdam_2_10_RGBIR.tif")
    return "top_potsdam_2_10_RGBIR.tif: can't be read"


def spoilt_end_of_mask(folder):
    truncate(folder / "5_Labels_all" / "top_potsdam_2_10_label.tif")
    return "top_potsdam_2_10_label.tif: can't be read"


SPOILT = (
    spoilt_size, spoilt_bands, spoilt_dtype, spoilt_mask, spoilt_file, spoilt_end,
    spoilt_end_of_mask,
)  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_bad_file_is_named_and_nothing_is_left(one_tile, tmp_path, spoil):
    expected = spoil(one_tile)
    message = refused("potsdam/rgbn", tmp_path / "data", one_tile, *only("2_10"))
    assert expected in message


@pytest.mark.parametrize("strip", [blocks._STRIP_BYTES, 1])
@pytest.mark.parametrize("spoil", [spoilt_file, spoilt_end, spoilt_end_of_mask])
def test_a_bad_tile_is_skipped_as_a_whole_and_listed_once(
    one_tile, tmp_path, spoil, strip, monkeypatch
):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", strip)
    write_tile(one_tile, "6_7")
    write_tile(one_tile, "2_13")
    expected = spoil(one_tile)
    fields = ("train=2_10,6_7", "test=2_13", "name=two")
    folder = build("potsdam/rgbn", tmp_path, manual_dir=one_tile, fields=fields, skip=True)
    skipped = (folder / "skipped.txt").read_text().splitlines()
    assert len(skipped) == 1
    assert expected in skipped[0]
    names = {key.split("/")[0] for key in windows_of("potsdam/two", tmp_path)}
    assert names == {"6_7", "2_13"}


def test_a_mended_file_is_read_again(one_tile, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_STRIP_BYTES", 1)
    spoilt_end(one_tile)
    refused("potsdam/rgbn", tmp_path / "data", one_tile, *only("2_10"))
    write_tile(one_tile, "2_10")
    build("potsdam/rgbn", tmp_path / "data", manual_dir=one_tile, fields=only("2_10"))
    assert len(windows_of("potsdam/one", tmp_path / "data")) == 6


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("labels=some", "--config.labels: found 'some'; expected all or noBoundary"),
        ("excluded=cars", "--config.excluded: found 'cars'; expected some of impervious"),
        ("excluded_tiles=9_9", "--config.excluded_tiles: found '9_9'"),
        ("test=2_10", "tile 2_10 is named twice"),
        ("train=", "no tile is left"),
        ("stride=0", "--config.stride: found 0 with a window of 600"),
        ("stride=601", "--config.stride: found 601 with a window of 600"),
        ("stride=299", "which share cells of 1 × 1 pixels; expected"),
        ("tiles=2_10", "has no field 'tiles'"),
    ],
)
def test_a_mistaken_config_is_refused(one_tile, tmp_path, field, message):
    given = [f for f in only("2_10") if f.partition("=")[0] != field.partition("=")[0]]
    assert message in refused("potsdam/rgbn", tmp_path / "data", one_tile, *given, field)
