import shutil

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

from data_pipelines.bands import SENTINEL2_L1C
from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset

CLASSES = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture",
           "PermanentCrop", "Residential", "River", "SeaLake")  # fmt: skip
# The order of the bands in the authors' files.
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")


def write_images(folder, suffix, pixels, count=1):
    return write_class_folders(folder, CLASSES, suffix, pixels, count)


def make_rgb(seed):
    return make_smooth_image(seed, 64, 3)


def make_bands(seed):
    """Create 13 bands; the value of band n, counted from 1, is 100 n + seed."""
    return np.full((64, 64, 13), np.arange(1, 14) * 100 + seed, np.uint16)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The two archives of the older Zenodo record, with their folder structure."""
    folder = tmp_path_factory.mktemp("unpacked")
    ms_folder = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
    rgb = write_images(folder / "rgb" / "2750", ".jpg", make_rgb, count=5)
    ms = write_images(folder / "ms" / ms_folder, ".tif", make_bands, count=5)
    files = tmp_path_factory.mktemp("files")
    write_zip(folder / "rgb", files / "EuroSAT.zip")
    write_zip(folder / "ms", files / "EuroSATallBands.zip")
    return files, rgb, ms


@pytest.fixture(scope="module")
def prepared(archives, tmp_path_factory):
    """Folder with the prepared datasets of all configs."""
    data_dir = tmp_path_factory.mktemp("data")
    for config in ("rgb", "rgbn", "all"):
        build(f"eurosat/{config}", data_dir, manual_dir=archives[0])
    return data_dir


def test_rgb_images_have_the_pixels_that_pillow_reads(archives, prepared):
    assert_examples_equal_files(load_examples("eurosat/rgb", prepared), archives[1])
    dataset = open_dataset("eurosat/rgb", prepared)
    assert (dataset.image_shape, dataset.image_dtype) == ((64, 64, 3), np.uint8)
    assert dataset.classes == CLASSES


@pytest.mark.parametrize("band", BANDS)
def test_every_band_is_selected_by_its_name(prepared, band):
    for pixels, _ in load_examples("eurosat/all", prepared, bands=(band,)).values():
        assert (pixels // 100 == BANDS.index(band) + 1).all()


def test_all_has_the_bands_in_order_of_wavelength(prepared):
    dataset = open_dataset("eurosat/all", prepared)
    wavelengths = [band.wavelength for band in dataset.sensor.bands]
    assert wavelengths == sorted(wavelengths)
    assert dataset.image_shape == (64, 64, 13)
    assert dataset.sensor == SENTINEL2_L1C


def test_rgbn_has_four_of_the_thirteen_bands(archives, prepared):
    examples = load_examples("eurosat/rgbn", prepared)
    assert open_dataset("eurosat/rgbn", prepared).sensor.names == ("red", "green", "blue", "nir")
    for key, file in archives[2].items():
        np.testing.assert_array_equal(examples[key][0], read_image(file)[..., [3, 2, 1, 7]])


def test_any_bands_can_be_prepared(archives, tmp_path):
    fields = ("bands=B8A,swir16,B10", "name=some")
    build("eurosat/all", tmp_path, manual_dir=archives[0], fields=fields)
    examples = load_examples("eurosat/some", tmp_path)
    for key, file in archives[2].items():
        np.testing.assert_array_equal(examples[key][0], read_image(file)[..., [12, 10, 9]])


def test_a_split_expression_selects_the_same_images_in_all_configs(prepared):
    subsets = [
        load_examples(f"eurosat/{c}", prepared, "all[4:1].rest") for c in ("rgb", "rgbn", "all")
    ]
    assert subsets[0].keys() == subsets[1].keys() == subsets[2].keys()
    assert sorted(label for _, label in subsets[0].values()) == list(CLASSES)


def test_rgb_statistics_are_measured_and_those_of_other_bands_published(prepared):
    rgb = open_dataset("eurosat/rgb", prepared).sensor
    assert rgb.name == "sentinel2_rgb"
    assert rgb.measured
    nir = open_dataset("eurosat/rgbn", prepared).sensor.bands[-1]
    assert (nir.mean, nir.std) == (2296.83, 1117.98)


def test_an_unpacked_archive_is_read(tmp_path):
    files = write_images(tmp_path / "files" / "EuroSAT_RGB", ".jpg", make_rgb)
    build("eurosat/rgb", tmp_path, manual_dir=tmp_path / "files")
    assert_examples_equal_files(load_examples("eurosat/rgb", tmp_path), files)


def test_a_dry_run_compares_with_the_published_counts(archives, tmp_path, capsys):
    arguments = ["--data_dir", str(tmp_path), "--manual_dir", str(archives[0]), "--dry_run"]
    assert main(["eurosat/all", *arguments]) == 0
    output = capsys.readouterr().out
    assert "sentinel_2/tif: AnnualCrop 5, Forest 5," in output
    assert "differences from published counts: AnnualCrop 5 instead of 3,000" in output
    assert "unused in EuroSAT.zip/2750: 50 images" in output
    assert "split train: 27,000 examples" in output


def remove(folder):
    shutil.rmtree(folder / "SeaLake")


def empty(folder):
    (folder / "SeaLake" / "SeaLake_1.tif").unlink()


def unpacked_and_zipped(folder):
    write_zip(folder, folder.parent / "EuroSAT_MS.zip")


def twelve_bands(folder):
    write_image(folder / "River" / "River_1.tif", make_bands(0)[..., :12])


def of_eight_bits(folder):
    write_image(folder / "River" / "River_1.tif", np.ones((64, 64, 13), np.uint8))


def large(folder):
    write_image(folder / "River" / "River_1.tif", np.ones((64, 70, 13), np.uint16))


def truncated(folder):
    file = folder / "River" / "River_1.tif"
    file.write_bytes(file.read_bytes()[:50_000])


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (remove, "lacks a folder of class SeaLake; found those of AnnualCrop, Forest"),
        (empty, "EuroSAT_MS/SeaLake: holds no image, .*; found nothing; expected jpg"),
        (
            unpacked_and_zipped,
            "has the same name and class as .*/EuroSAT_MS.zip/AnnualCrop/AnnualCrop_1.tif;",
        ),
        (twelve_bands, "River_1.tif: has 12 bands; expected 13"),
        (of_eight_bits, "River_1.tif: its pixels are uint8; expected uint16"),
        (large, "River_1.tif: has 64 × 70 pixels; expected 64 × 64"),
        (truncated, "River_1.tif: can't be read as GeoTIFF"),
    ],
)
def test_an_error_names_the_file_and_no_dataset_is_left(tmp_path, corrupt, message):
    write_images(tmp_path / "files" / "EuroSAT_MS", ".tif", make_bands)
    corrupt(tmp_path / "files" / "EuroSAT_MS")
    with pytest.raises(UserError, match=message) as error:
        build("eurosat/all", tmp_path / "data", manual_dir=tmp_path / "files")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_an_error_without_files_names_their_source(archives, tmp_path):
    record = r"zenodo.org/records/7711810"
    with pytest.raises(UserError, match=record):
        build("eurosat/all", tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "notes.txt").touch()
    with pytest.raises(UserError, match=f"found notes.txt; expected EuroSAT_MS.zip .*{record}"):
        build("eurosat/all", tmp_path, manual_dir=tmp_path / "files")
    shutil.copy(archives[0] / "EuroSAT.zip", tmp_path / "files")
    with pytest.raises(UserError, match=f"holds no .tif image; .* AnnualCrop_1.jpg; .*{record}"):
        build("eurosat/all", tmp_path, manual_dir=tmp_path / "files")


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ("rgb", "bands=B8A", "band 'B8A': sensor sentinel2_rgb does not have it"),
        ("all", "bands=B04,red", "is named twice"),
        ("all", "files=sar", "--config.files: found 'sar'; expected one of rgb, ms"),
    ],
)
def test_an_unsuitable_config_is_refused(archives, tmp_path, config, field, message):
    fields = (field, "name=mine")
    with pytest.raises(UserError, match=message):
        build(f"eurosat/{config}", tmp_path, manual_dir=archives[0], fields=fields)
