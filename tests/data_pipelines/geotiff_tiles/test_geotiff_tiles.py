import os
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.geotiff_tiles import tiles as tiles_module
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset

REALDATA = os.environ.get("SSL_JAX_REALDATA", "")
BANDS = ("B04", "B03", "B02", "B08")


def write(path, pixels, nodata=None, origin=(500_000, 5_000_000)):
    """Write pixels (bands, h, w) as a GeoTIFF of 10 m."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
        "nodata": nodata,
    }
    if origin:
        profile |= {"crs": "EPSG:32633", "transform": from_origin(*origin, 10, 10)}
    with rasterio.open(path, "w", **profile) as image:
        image.write(pixels)


def random_pixels(seed, shape, dtype):
    return np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, shape).astype(dtype)


def read_tiles(data_dir, config, split="all"):
    source = select_subset(open_dataset(f"geotiff_tiles/{config}", data_dir), split).examples
    return [source[i]["image"] for i in range(len(source))]


def test_images_of_all_bands_are_cut_into_complete_tiles(tmp_path):
    pixels = random_pixels(0, (4, 250, 380), np.uint8)
    write(tmp_path / "files" / "deeper" / "a.tif", pixels)
    build("geotiff_tiles/naip", tmp_path, manual_dir=tmp_path / "files")
    tiles = {tile.tobytes() for tile in read_tiles(tmp_path, "naip")}
    image = pixels.transpose(1, 2, 0)
    expected = [
        image[row : row + 120, column : column + 120]
        for row in (0, 120)
        for column in (0, 120, 240)
    ]
    assert tiles == {tile.tobytes() for tile in expected}


def test_single_band_files_of_a_patch_are_stacked(tmp_path):
    patches = {f"S2A_MSIL2A_20170617T11332{i}_4_{i}": i for i in range(3)}
    for name, seed in patches.items():
        for band in (*BANDS, "B8A"):
            pixels = random_pixels((seed, ord(band[-1])), (1, 120, 120), np.uint16)
            write(tmp_path / "files" / name / f"{name}_{band}.tif", pixels)
    build("geotiff_tiles/sentinel2", tmp_path, manual_dir=tmp_path / "files")
    tiles = {tile.tobytes() for tile in read_tiles(tmp_path, "sentinel2")}
    for seed in patches.values():
        bands = [random_pixels((seed, ord(b[-1])), (120, 120), np.uint16) for b in BANDS]
        assert np.stack(bands, axis=-1).tobytes() in tiles
    assert len(tiles) == 3


def test_tiles_with_too_many_no_data_pixels_are_dropped(tmp_path):
    pixels = random_pixels(0, (4, 120, 360), np.uint8)
    pixels[:, :, 120:240] = 0
    pixels[:, :, 240:250] = 0
    write(tmp_path / "files" / "a.tif", pixels, nodata=0)
    build("geotiff_tiles/naip", tmp_path, manual_dir=tmp_path / "files")
    assert len(read_tiles(tmp_path, "naip")) == 2


@pytest.mark.parametrize("world_file", [False, True])
def test_all_dates_of_a_location_are_in_the_same_split(tmp_path, world_file):
    locations = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5).repeat(4, axis=0)
    pixels = np.kron(locations, np.ones((1, 120, 120), np.uint8))
    for date, shift in enumerate((0.0, 1.5, -2.0)):
        x, y = 600_000 + shift, 6_000_000
        path = tmp_path / "files" / f"{date}.tif"
        write(path, pixels, origin=None if world_file else (x, y))
        if world_file:
            path.with_suffix(".tfw").write_text(f"10\n0\n0\n-10\n{x + 5}\n{y - 5}\n")
    build("geotiff_tiles/naip", tmp_path, manual_dir=tmp_path / "files")
    train, validation = (
        [int(tile[0, 0, 0]) for tile in read_tiles(tmp_path, "naip", split)]
        for split in ("train", "validation")
    )
    assert len(train) + len(validation) == 75
    assert validation
    assert not set(train) & set(validation)


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        ("naip", {}, "files: is not a folder with files in it"),
        ("naip", {"a.jpg": None}, r"no file matches \*\*/\*.tif; it contains a.jpg"),
        ("naip", {"a.tif": None}, "a.tif: can't be read as GeoTIFF"),
        ("naip", {"a.tif": (3, 120, 120, np.uint8)}, "a.tif: has 3 bands; expected 4"),
        ("naip", {"a.tif": (4, 120, 120, np.uint16)}, "pixels are uint16; expected uint8"),
        ("naip", {"a.tif": (4, 100, 300, np.uint8)}, "smaller than a tile of 120 × 120"),
        ("sentinel2", {"p_B04.tif": (1, 120, 120, np.uint16)}, "lacks p_B03.tif, p_B02.tif"),
        (
            "sentinel2",
            {f"p_{b}.tif": (1, 120 if b != "B02" else 60, 120, np.uint16) for b in BANDS},
            "p_B02.tif: has 60 × 120 pixels; expected 120 × 120",
        ),
    ],
)
def test_invalid_files_are_named_and_nothing_is_written(tmp_path, config, files, message):
    (tmp_path / "files").mkdir()
    for name, shape in files.items():
        if shape is None:
            (tmp_path / "files" / name).write_text("no image")
        else:
            write(tmp_path / "files" / name, np.ones(shape[:3], shape[3]))
    with pytest.raises(UserError, match=message) as error:
        build(f"geotiff_tiles/{config}", tmp_path / "data", manual_dir=tmp_path / "files")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


def write_patches(folder, count=3):
    for number in range(count):
        for band in BANDS:
            pixels = random_pixels((number, ord(band[-1])), (1, 120, 120), np.uint16)
            write(folder / f"p{number}" / f"p{number}_{band}.tif", pixels)


def truncate(path):
    path.write_bytes(path.read_bytes()[:20_000])


def test_a_corrupt_file_of_a_patch_is_named_or_the_patch_is_skipped(tmp_path):
    write_patches(tmp_path / "files")
    truncate(tmp_path / "files" / "p1" / "p1_B03.tif")
    with pytest.raises(UserError, match=r"p1_B03.tif: can't be read"):
        build("geotiff_tiles/sentinel2", tmp_path / "data", manual_dir=tmp_path / "files")
    assert not list((tmp_path / "data").rglob("*array_record*"))
    (tmp_path / "files" / "p2" / "p2_B04.tif").write_text("no image")
    folder = build("geotiff_tiles/sentinel2", tmp_path, manual_dir=tmp_path / "files", skip=True)
    skipped = (folder / "skipped.txt").read_text().splitlines()
    assert ["p2_B04.tif" in skipped[0], "p1_B03.tif" in skipped[1], len(skipped)] == [True, True, 2]
    assert len(read_tiles(tmp_path, "sentinel2")) == 1


@pytest.fixture
def images(tmp_path):
    """A folder with two images of twelve tiles each."""
    for seed in range(2):
        pixels = random_pixels(seed, (4, 370, 480), np.uint8)
        origin = (500_000 + 10_000 * seed, 5_000_000)
        write(tmp_path / "files" / f"{seed}.tif", pixels, origin=origin)
    return tmp_path / "files"


def test_the_stored_tiles_do_not_depend_on_workers_or_memory(images, tmp_path, monkeypatch):
    one_worker = build("geotiff_tiles/naip", tmp_path / "a", manual_dir=images)
    two_workers = build("geotiff_tiles/naip", tmp_path / "b", manual_dir=images, workers=2)
    for file in one_worker.glob("*array_record*"):
        assert file.read_bytes() == (two_workers / file.name).read_bytes()
    monkeypatch.setattr(tiles_module, "_ITEM_BYTES", 1)
    build("geotiff_tiles/naip", tmp_path / "c", manual_dir=images)
    for split in ("train", "validation"):
        tiles = [read_tiles(tmp_path / folder, "naip", split) for folder in ("a", "c")]
        np.testing.assert_array_equal(*tiles)


def test_keys_are_file_names_and_positions(images, tmp_path):
    build("geotiff_tiles/naip", tmp_path, manual_dir=images)
    dataset = open_dataset("geotiff_tiles/naip", tmp_path)
    keys = [key.decode() for key in select_subset(dataset, "all").examples.example_ids()]
    assert sorted(keys) == sorted(
        f"{seed}.tif/{row}/{column}"
        for seed in (0, 1)
        for row in (0, 120, 240)
        for column in (0, 120, 240, 360)
    )
    assert "id" in dataset.info.features


def test_a_dry_run_reports_the_number_of_tiles_unless_some_may_be_dropped(images, tmp_path, capsys):
    command = ["geotiff_tiles/naip", "--data_dir", str(tmp_path), "--manual_dir", str(images)]
    main([*command, "--dry_run"])
    output = capsys.readouterr().out
    counts = [int(n) for n in re.findall(r"split \w+: (\d+) examples", output)]
    assert sum(counts) == 24
    write(images / "2.tif", random_pixels(2, (4, 120, 120), np.uint8), nodata=0)
    main([*command, "--dry_run"])
    output = capsys.readouterr().out
    assert "tiles: 25, minus those with more than 10% no-data pixels" in output
    assert "split train: unknown examples" in output


def test_a_folder_of_empty_tiles_is_an_error(tmp_path):
    write(tmp_path / "files" / "a.tif", np.zeros((4, 120, 120), np.uint8), nodata=0)
    with pytest.raises(UserError, match="geotiff_tiles/naip: has no example"):
        build("geotiff_tiles/naip", tmp_path, manual_dir=tmp_path / "files")


@pytest.mark.skipif(not REALDATA, reason="SSL_JAX_REALDATA is not set")
def test_real_naip_tiles_equal_what_rasterio_reads(tmp_path):
    folder = Path(REALDATA, "naip_rgbn")
    build("geotiff_tiles/naip", tmp_path, manual_dir=folder)
    tiles = {tile.tobytes() for tile in read_tiles(tmp_path, "naip")}
    first = min(folder.glob("*.tif"))
    with rasterio.open(first) as image:
        pixels = image.read().transpose(1, 2, 0)
    assert pixels[120:240, 240:360].tobytes() in tiles
    assert len(tiles) == 8 * 6 * 7


def test_overlapping_tiles_cannot_be_divided_into_splits(tmp_path):
    write(tmp_path / "files" / "a.tif", random_pixels(0, (4, 250, 380), np.uint8))
    fields = ["stride=60", "name=overlapping"]
    with pytest.raises(UserError, match="would be in both training and validation split"):
        build("geotiff_tiles/naip", tmp_path, tmp_path / "files", fields=fields)
    build("geotiff_tiles/naip", tmp_path, tmp_path / "files", fields=[*fields, "validation=0"])
    assert len(read_tiles(tmp_path, "overlapping")) == 3 * 5
