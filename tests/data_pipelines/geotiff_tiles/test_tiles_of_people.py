"""Folders of GeoTIFFs as people have them: names, links, borders, no data, shifted grids."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from image_mask_files import get_build_error, random_pixels, read_windows, write
from rasterio.transform import from_origin

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

NAIP = "geotiff_tiles/naip"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "files"


def write_at(path, pixels, x=500_000.0, y=6_000_000.0, resolution=1, **profile):
    transform = from_origin(x, y, resolution, resolution)
    write(path, pixels, crs="EPSG:32632", transform=transform, **profile)


def read_tiles(data_dir, name=NAIP, split="all"):
    """Return the tiles of a split by key."""
    source = select_subset(open_dataset(name, data_dir), split).examples
    keys = [key.decode() for key in source.example_ids()]
    return {key: source[i]["image"] for i, key in enumerate(keys)}


def run_command(folder, capsys, *arguments, name=NAIP):
    command = [name, "--data_dir", str(folder.parent / "data"), "--manual_dir", str(folder)]
    assert main([*command, *arguments]) == 0
    return capsys.readouterr().out


def test_files_are_found_by_any_case_in_links_and_archives_but_not_hidden_ones(folder, capsys):
    for number, name in enumerate(("a.tif", "B.TIF", "c.tiff", "sub/d [1] #.tif")):
        write_at(folder / name, random_pixels(number, 4, 120, 120), x=1000 * number)
    write_at(folder.parent / "elsewhere" / "e.tif", random_pixels(7, 4, 120, 120), x=9000)
    (folder / "linked").symlink_to(folder.parent / "elsewhere", target_is_directory=True)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(folder / "a.tif", "f.tif")
    (folder / "._a.tif").write_bytes(b"resource fork")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "a-checkpoint.tif").write_bytes(b"")
    (folder / "notes.txt").touch()
    (folder / "preview.jpg").touch()
    output = run_command(folder, capsys)
    files = {key.rsplit("/", 2)[0] for key in read_tiles(folder.parent / "data")}
    assert files == {
        "a.tif", "B.TIF", "c.tiff", "sub/d [1] #.tif", "linked/e.tif", "more.zip/f.tif",
    }  # fmt: skip
    line = next(line for line in output.splitlines() if line.startswith("left aside: "))
    assert {"2 hidden", "1 .txt", "1 images that don't match"} == set(
        line.removeprefix("left aside: ").split(", ")
    )


def test_what_is_left_out_at_borders_and_of_small_images_is_told(folder, capsys):
    write_at(folder / "a.tif", random_pixels(0, 4, 250, 380))
    write_at(folder / "small.tif", random_pixels(1, 4, 119, 500), x=600_000)
    write_at(folder / "whole.tif", random_pixels(1, 4, 120, 120), x=700_000)
    output = run_command(folder, capsys)
    area = 250 * 380 + 119 * 500 + 120 * 120
    assert f"tiles cover {7 * 14_400 / area:.1%} of the images' pixels" in output
    assert "1 of 3 lose a remainder at the right or the bottom" in output
    assert "left out as smaller than a tile of 120 × 120 pixels: 1, such as" in output
    assert "small.tif, 119 × 500" in output
    assert f"used: 100,800 ({7 * 14_400 / area:.1%}) of the {area:,} pixels of the files" in output


def test_bands_go_by_name_and_transparency_is_not_near_infrared(folder, capsys):
    pixels = random_pixels(0, 4, 120, 120)
    write_at(folder / "a.tif", pixels)
    with rasterio.open(folder / "a.tif", "r+") as file:
        file.descriptions = ("nir", "blue", "green", "red")
    assert "nir from band 1 (as the file names them" in run_command(folder, capsys)
    (tile,) = read_tiles(folder.parent / "data").values()
    np.testing.assert_array_equal(tile, np.moveaxis(pixels[::-1], 0, -1)[..., [0, 1, 2, 3]])
    pixels[3] = 255
    write_at(folder / "a.tif", pixels, photometric="RGB", alpha="YES")
    message = get_build_error(NAIP, folder.parent / "other", folder)
    assert "its band 4 is transparency" in message


@pytest.mark.parametrize("value", [0, 255, None])
def test_pixels_without_data_are_counted_and_not_measured(folder, value):
    pixels = random_pixels(0, 4, 120, 360)
    pixels[:, :, 60:130] = 0 if value is None else value
    write_at(folder / "a.tif", pixels, nodata=value)
    if value is None:
        mask = np.ones((120, 360), bool)
        mask[:, 60:130] = False
        with rasterio.open(folder / "a.tif", "r+") as file:
            file.write_mask(mask)
    build(NAIP, folder.parent, folder, fields=["max_nodata=0.3", "validation=0", "name=mine"])
    tiles = read_tiles(folder.parent, "geotiff_tiles/mine")
    assert tiles.keys() == {"a.tif/0/120", "a.tif/0/240"}  # half of the first one is empty
    assert not tiles["a.tif/0/120"][:, :10].any()
    folder_of_statistics = open_dataset("geotiff_tiles/mine", folder.parent).info.data_dir
    statistics = json.loads(Path(folder_of_statistics, "statistics.json").read_text())["train"]
    assert statistics["pixels"] == 120 * 230
    np.testing.assert_allclose(statistics["mean"], pixels[:, :, 130:].mean(axis=(1, 2)))


def test_the_same_command_again_finds_the_dataset_prepared(folder, capsys):
    write_at(folder / "a.tif", random_pixels(0, 4, 120, 120), nodata=0)
    run_command(folder, capsys)
    assert "is already prepared" in run_command(folder, capsys)
    fields = ["name=mine", "offset=3"]
    build(NAIP, folder.parent, folder, fields=fields)
    build(NAIP, folder.parent, folder, fields=fields)
    with pytest.raises(UserError, match=r"is prepared in .* with another config"):
        build(NAIP, folder.parent, folder, fields=["name=mine", "offset=4"])


def test_tiles_of_shifted_grids_are_not_on_both_sides_of_the_cut(folder, capsys):
    """Two dates of one place, the second shifted by a third of a tile."""
    size = 120 * 12
    pixels = random_pixels(0, 4, size, size)
    for date, shift in enumerate((0, 40)):
        write_at(folder / f"{date}.tif", pixels, x=500_000 + shift, y=6_000_000 - shift)
    output = run_command(folder, capsys)
    assert "of train that overlap one of validation by place" in output
    places = {}
    for split in ("train", "validation"):
        places[split] = [
            (int(row) + 40 * int(name[0]), int(column) + 40 * int(name[0]))
            for name, row, column in (
                key.rsplit("/", 2) for key in read_tiles(folder.parent / "data", split=split)
            )
        ]
        assert places[split]
    train, validation = (np.array(places[split]) for split in ("train", "validation"))
    distances = np.abs(train[:, None] - validation[None]).max(axis=-1)
    assert distances.min() >= 120


def test_numbers_are_converted_as_in_other_builders(folder):
    pixels = np.random.default_rng(0).uniform(0.01, 0.5, (4, 120, 120)).astype(np.float32)
    pixels[:, :5] = np.nan
    write_at(folder / "a.tif", pixels)
    fields = ["name=mine", "dtype=float32"]
    with pytest.raises(UserError, match=r"float32, 0.0.* probably --config.scale=1 "):
        build(NAIP, folder.parent, folder, fields=fields)
    build(NAIP, folder.parent, folder, fields=[*fields, "scale=1"])
    (tile,) = read_tiles(folder.parent, "geotiff_tiles/mine").values()
    np.testing.assert_array_equal(
        tile[5:], np.moveaxis(np.rint(pixels[:, 5:].astype(float) * 1e4), 0, -1)
    )
    assert not tile[:5].any()
    assert open_dataset("geotiff_tiles/mine", folder.parent).sensor.bands[0].scale == 1e-4


def test_images_of_one_place_are_in_one_split_with_masks_too(folder):
    """Forty pairs of images with masks, the second of each shifted by half its width."""
    for number in range(40):
        for half in range(2):
            x = 500_000 + 1000 * number + 8 * half
            write_at(folder / "images" / f"{number}_{half}.tif", random_pixels(0, 3, 16, 16), x=x)
            mask = np.zeros((1, 16, 16), np.uint8)
            write_at(folder / "masks" / f"{number}_{half}.tif", mask, x=x)
    fields = ["classes=land", "validation=0.25"]
    build("geotiff_masks/mine", folder.parent, folder, fields=fields)
    train, validation = (
        {key.split("/")[0] for key in read_windows("geotiff_masks/mine", folder.parent, split)}
        for split in ("train", "validation")
    )
    assert len(train) + len(validation) == 80
    assert 0 < len(validation) < 40
    assert not {name[:-2] for name in train} & {name[:-2] for name in validation}


def test_overlapping_images_of_given_splits_are_told(folder, capsys):
    for split, x in (("train", 500_000), ("val", 500_008)):
        write_at(folder / split / "images" / "a.tif", random_pixels(0, 3, 16, 16), x=x)
        write_at(folder / split / "masks" / "a.tif", np.zeros((1, 16, 16), np.uint8), x=x)
    output = run_command(folder, capsys, "--config.classes=land", name="geotiff_masks/mine")
    assert "warning: 2 images overlap one of another split by place, such as train/a of" in output
