import shutil

import numpy as np
import pytest
from class_trees import assert_holds, read_image, smooth, stored, write_classes, write_image, zipped

from data_pipelines.bands import SENTINEL2_L1C
from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset

CLASSES = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture",
           "PermanentCrop", "Residential", "River", "SeaLake")  # fmt: skip
# The order in the authors' files.
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")


def write_images(folder, suffix, pixels, count=1):
    return write_classes(folder, CLASSES, suffix, pixels, count)


def picture(seed):
    return smooth(seed, 64, 3)


def bands_by_value(seed):
    """13 bands with a hundred times their number in the file as value, and a little of the seed."""
    return np.full((64, 64, 13), np.arange(1, 14) * 100 + seed, np.uint16)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The two archives of the older record, with their trees."""
    folder = tmp_path_factory.mktemp("unpacked")
    deep = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
    rgb = write_images(folder / "rgb" / "2750", ".jpg", picture, count=5)
    ms = write_images(folder / "ms" / deep, ".tif", bands_by_value, count=5)
    packed = tmp_path_factory.mktemp("files")
    zipped(folder / "rgb", packed / "EuroSAT.zip")
    zipped(folder / "ms", packed / "EuroSATallBands.zip")
    return packed, rgb, ms


@pytest.fixture(scope="module")
def prepared(archives, tmp_path_factory):
    """Where all configs were prepared of them."""
    data_dir = tmp_path_factory.mktemp("data")
    for config in ("rgb", "rgbn", "all"):
        build(f"eurosat/{config}", data_dir, manual_dir=archives[0])
    return data_dir


def test_rgb_holds_the_pictures_as_pillow_reads_them(archives, prepared):
    assert_holds(stored("eurosat/rgb", prepared), archives[1])
    dataset = open_dataset("eurosat/rgb", prepared)
    assert (dataset.image_shape, dataset.image_dtype) == ((64, 64, 3), np.uint8)
    assert dataset.classes == CLASSES


@pytest.mark.parametrize("band", BANDS)
def test_every_band_is_the_one_of_its_name(prepared, band):
    for pixels, _ in stored("eurosat/all", prepared, bands=(band,)).values():
        assert (pixels // 100 == BANDS.index(band) + 1).all()


def test_all_holds_the_bands_in_the_order_of_their_wavelengths(prepared):
    dataset = open_dataset("eurosat/all", prepared)
    wavelengths = [band.wavelength for band in dataset.sensor.bands]
    assert wavelengths == sorted(wavelengths)
    assert dataset.image_shape == (64, 64, 13)
    assert dataset.sensor == SENTINEL2_L1C


def test_rgbn_holds_four_of_the_thirteen_bands(archives, prepared):
    found = stored("eurosat/rgbn", prepared)
    assert open_dataset("eurosat/rgbn", prepared).sensor.names == ("red", "green", "blue", "nir")
    for key, file in archives[2].items():
        np.testing.assert_array_equal(found[key][0], read_image(file)[..., [3, 2, 1, 7]])


def test_any_bands_can_be_prepared(archives, tmp_path):
    fields = ("bands=B8A,swir16,B10", "name=some")
    build("eurosat/all", tmp_path, manual_dir=archives[0], fields=fields)
    found = stored("eurosat/some", tmp_path)
    for key, file in archives[2].items():
        np.testing.assert_array_equal(found[key][0], read_image(file)[..., [12, 10, 9]])


def test_the_same_cut_has_the_same_images_in_all_configs(prepared):
    cuts = [stored(f"eurosat/{c}", prepared, "all[4:1].rest") for c in ("rgb", "rgbn", "all")]
    assert cuts[0].keys() == cuts[1].keys() == cuts[2].keys()
    assert sorted(label for _, label in cuts[0].values()) == list(CLASSES)


def test_pictures_are_measured_and_bands_have_the_published_statistics(prepared):
    pictures = open_dataset("eurosat/rgb", prepared).sensor
    assert pictures.name == "sentinel2_rgb"
    assert pictures.measured
    nir = open_dataset("eurosat/rgbn", prepared).sensor.bands[-1]
    assert (nir.mean, nir.std) == (2296.83, 1117.98)


def test_an_unpacked_archive_does_as_well(tmp_path):
    files = write_images(tmp_path / "files" / "EuroSAT_RGB", ".jpg", picture)
    build("eurosat/rgb", tmp_path, manual_dir=tmp_path / "files")
    assert_holds(stored("eurosat/rgb", tmp_path), files)


def test_a_dry_run_compares_with_what_is_published(archives, tmp_path, capsys):
    arguments = ["--data_dir", str(tmp_path), "--manual_dir", str(archives[0]), "--dry_run"]
    assert main(["eurosat/all", *arguments]) == 0
    said = capsys.readouterr().out
    assert "sentinel_2/tif: AnnualCrop 5, Forest 5," in said
    assert "other than published: AnnualCrop 5 instead of 3,000" in said
    assert "not used in EuroSAT.zip/2750: 50 images" in said
    assert "split train: 27,000 examples" in said


def remove(folder):
    shutil.rmtree(folder / "SeaLake")


def empty(folder):
    (folder / "SeaLake" / "SeaLake_1.tif").unlink()


def packed_too(folder):
    zipped(folder, folder.parent / "EuroSAT_MS.zip")


def twelve_bands(folder):
    write_image(folder / "River" / "River_1.tif", bands_by_value(0)[..., :12])


def of_eight_bits(folder):
    write_image(folder / "River" / "River_1.tif", np.ones((64, 64, 13), np.uint8))


def large(folder):
    write_image(folder / "River" / "River_1.tif", np.ones((64, 70, 13), np.uint16))


def truncated(folder):
    file = folder / "River" / "River_1.tif"
    file.write_bytes(file.read_bytes()[:50_000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "lacks a folder of class SeaLake; found those of AnnualCrop, Forest"),
        (empty, "EuroSAT_MS/SeaLake: holds no image, .*; found nothing, expected jpg"),
        (
            packed_too,
            "has the name and the class of .*/EuroSAT_MS.zip/AnnualCrop/AnnualCrop_1.tif;",
        ),
        (twelve_bands, "River_1.tif: has 12 bands; expected 13"),
        (of_eight_bits, "River_1.tif: its pixels are uint8; expected uint16"),
        (large, "River_1.tif: has 64 × 70 pixels; expected 64 × 64"),
        (truncated, "River_1.tif: can't be read as GeoTIFF"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(tmp_path, damage, message):
    write_images(tmp_path / "files" / "EuroSAT_MS", ".tif", bands_by_value)
    damage(tmp_path / "files" / "EuroSAT_MS")
    with pytest.raises(UserError, match=message) as error_message:
        build("eurosat/all", tmp_path / "data", manual_dir=tmp_path / "files")
    assert "\n" not in str(error_message.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_whoever_has_no_files_is_told_where_they_are_had(archives, tmp_path):
    record = r"zenodo.org/records/7711810"
    with pytest.raises(UserError, match=record):
        build("eurosat/all", tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "notes.txt").touch()
    with pytest.raises(UserError, match=f"found notes.txt, expected EuroSAT_MS.zip .*{record}"):
        build("eurosat/all", tmp_path, manual_dir=tmp_path / "files")
    shutil.copy(archives[0] / "EuroSAT.zip", tmp_path / "files")
    with pytest.raises(UserError, match=f"holds no .tif image; found AnnualCrop_1.jpg .*{record}"):
        build("eurosat/all", tmp_path, manual_dir=tmp_path / "files")


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ("rgb", "bands=B8A", "band 'B8A': sensor sentinel2_rgb does not have it"),
        ("all", "bands=B04,red", "is named twice"),
        ("all", "files=sar", "--config.files: found 'sar'; expected one of rgb, ms"),
    ],
)
def test_a_config_that_does_not_fit_is_told(archives, tmp_path, config, field, message):
    fields = (field, "name=mine")
    with pytest.raises(UserError, match=message):
        build(f"eurosat/{config}", tmp_path, manual_dir=archives[0], fields=fields)
