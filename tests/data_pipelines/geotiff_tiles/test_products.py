"""Sentinel-2 products as ESA ships them."""

import numpy as np
import pytest
from sentinel2_products import write_product, zip_product

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "files"


def read_tiles(data_dir, name):
    source = select_subset(open_dataset(name, data_dir), "all").examples
    keys = [key.decode() for key in source.example_ids()]
    return {key.split("/", 5)[-1].split("/")[-2:][0] + "/" + key.rsplit("/", 1)[-1]:
            source[i]["image"] for i, key in enumerate(keys)}  # fmt: skip


def build_tiles(folder, *fields):
    fields = ("max_nodata=0.6", "name=mine", *fields)
    build("geotiff_tiles/sentinel2", folder.parent, folder, fields=fields, overwrite=True)
    return read_tiles(folder.parent, "geotiff_tiles/mine")


@pytest.mark.parametrize("zipped", [False, True])
def test_numbers_are_converted_by_the_metadata_after_no_data_was_found(folder, zipped, tmp_path):
    numbers = write_product(tmp_path / "unpacked" if zipped else folder)
    if zipped:
        zip_product(tmp_path / "unpacked", folder / "S2A_MSIL2A_20220601T101031.zip")
    tiles = build_tiles(folder)
    assert tiles.keys() == {"0/0", "0/120", "120/0", "120/120"}
    image = np.stack([numbers[band] for band in ("B04", "B03", "B02", "B08")], axis=-1)
    expected = (image.astype(int) - 1000).clip(1)
    np.testing.assert_array_equal(tiles["120/120"], expected[120:, 120:])
    np.testing.assert_array_equal(tiles["0/0"][60:], expected[60:120, :120])
    assert not tiles["0/0"][:60].any()
    sensor = open_dataset("geotiff_tiles/mine", folder.parent).sensor
    assert (sensor.name, sensor.names) == ("sentinel2_l2a", ("red", "green", "blue", "nir"))


def test_products_before_baseline_04_have_no_offset(folder, capsys):
    write_product(folder)
    old = write_product(folder, "T33UUU", offsets="", seed=1)
    arguments = ["--data_dir", str(folder.parent), "--manual_dir", str(folder), "--dry_run"]
    assert main(["geotiff_tiles/sentinel2", *arguments]) == 0
    output = capsys.readouterr().out
    assert "offsets of the products: -1000 to 4 files, 0 to 4 files, by their metadata" in output
    assert "red from T32UQD_20220601T101031_B04_10m.jp2, green from" in output
    build("geotiff_tiles/sentinel2", folder.parent, folder, fields=["validation=0", "name=mine"])
    source = select_subset(open_dataset("geotiff_tiles/mine", folder.parent), "train").examples
    keys = [key.decode() for key in source.example_ids()]
    (row,) = (i for i, key in enumerate(keys) if "T33UUU" in key and key.endswith("/120/0"))
    image = np.stack([old[band] for band in ("B04", "B03", "B02", "B08")], axis=-1)
    np.testing.assert_array_equal(source[row]["image"], image[120:, :120])


OWN_BUILDER = """
from data_pipelines.bands import SENTINEL2_L2A
from data_pipelines.geotiff_tiles.geotiff_tiles import GeotiffTiles, GeotiffTilesConfig


class Coarse(GeotiffTiles):
    BUILDER_CONFIGS = (
        GeotiffTilesConfig(
            name="mine",
            sensor=SENTINEL2_L2A.select(("red", "nir08", "coastal")),
            dtype="uint16",
            pattern="**/*_{band}",
            file_bands=("B04", "B8A", "B01"),
        ),
    )
"""


def test_bands_of_20_and_60_metres_are_read_at_their_finest_and_repeated(folder):
    numbers = write_product(folder)
    builder = folder.parent / "coarse.py"
    builder.write_text(OWN_BUILDER)
    build(f"{builder}:Coarse/mine", folder.parent, folder)
    tiles = read_tiles(folder.parent, f"{builder}:Coarse/mine")
    for channel, (band, factor) in enumerate((("B04", 1), ("B8A", 2), ("B01", 6))):
        repeated = numbers[band].repeat(factor, 0).repeat(factor, 1)[120:, 120:]
        np.testing.assert_array_equal(tiles["120/120"][..., channel], (repeated - 1000).clip(1))


def remove_band(folder):
    next(folder.rglob("*_B08_10m.jp2")).unlink()
    for path in folder.rglob("*_B08_?0m.jp2"):
        path.unlink()
    return r"T32UQD_A036256_20220601T101559: lacks B08; found B0"


def remove_metadata(folder):
    next(folder.rglob("MTD_*")).unlink()
    return r"SAFE: lacks MTD_MSIL2A.xml or MTD_MSIL1C.xml, which say what its numbers mean"


def cut_metadata(folder):
    next(folder.rglob("MTD_*")).write_text("<n1>")
    return r"MTD_MSIL2A.xml: is no XML"


def change_quantification(folder):
    write_product(folder, quantification=1)
    return r"MTD_MSIL2A.xml: has the BOA_QUANTIFICATION_VALUE \[1.0\]; expected 10000"


def change_level(folder):
    path = next(folder.rglob("MTD_*"))
    text = path.read_text().replace("BOA_QUANT", "QUANT").replace("BOA_ADD", "RADIO_ADD")
    path.with_name("MTD_MSIL1C.xml").write_text(text)
    path.unlink()
    return (
        r"is of a product of level L1C; expected one for sensor sentinel2_l2a, or geotiff_tiles/s"
    )


FAULTS = (remove_band, remove_metadata, cut_metadata, change_quantification, change_level)


@pytest.mark.parametrize("corrupt", FAULTS)
def test_an_incomplete_product_is_named(folder, corrupt):
    write_product(folder)
    message = corrupt(folder)
    with pytest.raises(UserError, match=message) as error:
        build_tiles(folder)
    assert "\n" not in str(error.value)
