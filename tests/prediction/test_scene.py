"""Maps of scenes by a trained network: what is in them, and what their bytes don't depend on."""

import json
import math
import shutil

import numpy as np
import pytest
import rasterio
from prediction.aerial_scenes import TRANSFORM, read_demo_images, write_scene
from small_configs import limit_devices

from data_pipelines.errors import UserError
from data_pipelines.scenes import open_scene
from ssl_jax.maps import blocks
from ssl_jax.prediction import make_scene_mapper, open_map_model, scene
from ssl_jax.runs.evaluation import evaluate_checkpoint
from ssl_jax.scenes import sweep_plan

FILES = ("classes.tif", "confidence.tif")


@pytest.fixture(scope="module")
def workdir(trained):
    return trained("segmentation").workdir


@pytest.fixture(scope="module")
def images(data_dir):
    return read_demo_images(data_dir)


def make_map(workdir, path, folder, devices=1, **window):
    model = open_map_model(workdir, **window)
    with limit_devices(devices):
        return make_scene_mapper(model)(open_scene(path, model.card.sensor), folder)


def read(path):
    with rasterio.open(path) as raster:
        return raster.read(1)


def read_bytes(folder):
    return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture(scope="module")
def mosaic(images, tmp_path_factory):
    """A high scene of images side by side, with a corner without data: eight blocks at least."""
    row = np.concatenate([each["image"] for each in images[:2]], axis=1)
    image = np.concatenate([row, row[:, ::-1]] * 9)[:1117, :117]
    image[:50, :40] = 0
    return write_scene(tmp_path_factory.mktemp("scenes") / "mosaic.tif", image, nodata=0)


@pytest.fixture(scope="module")
def mapped(workdir, mosaic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "mosaic"
    return make_map(workdir, mosaic, folder, window=32, stride=16)


def test_figures_against_the_masks_are_those_of_evaluate(workdir, images, tmp_path):
    right = total = 0
    model = open_map_model(workdir)
    kept = np.asarray(model.objective.kept)
    map_scene = make_scene_mapper(model)
    for number, each in enumerate(images):
        path = write_scene(tmp_path / f"{number}.tif", each["image"])
        folder = map_scene(open_scene(path, model.card.sensor), tmp_path / f"map{number}").folder
        counted = np.isin(each["mask"], kept)
        right += (read(folder / "classes.tif") == each["mask"])[counted].sum()
        total += counted.sum()
    assert right / total == pytest.approx(evaluate_checkpoint(workdir)["OA"], abs=1e-9)


def test_the_map_lies_where_the_scene_does_and_says_what_its_numbers_are(mapped, mosaic):
    with rasterio.open(mosaic) as source, rasterio.open(mapped.folder / "classes.tif") as target:
        assert (target.crs, target.transform, target.shape) == (
            source.crs,
            source.transform,
            source.shape,
        )
        assert target.nodata == 255
        assert target.colormap(1)[1] == (0, 0, 255, 255)  # building
        assert target.tags()["CLASS_1"] == "building"
    assert "<Category>building</Category>" in (mapped.folder / "classes.tif.aux.xml").read_text()


def test_pixels_without_data_have_no_class_and_areas_add_up_to_the_scene(mapped, mosaic):
    with rasterio.open(mosaic) as raster:
        has_data = raster.read().any(axis=0)
    for name in FILES:
        assert ((read(mapped.folder / name) == 255) == ~has_data).all()
    areas = [*mapped.areas.classes, mapped.areas.nodata]
    assert sum(area.pixels for area in areas) == has_data.size
    # UTM's scale is 0.9996 at the middle of a zone, and about 1.000 at this distance from it.
    hectares = has_data.size * abs(TRANSFORM.a * TRANSFORM.e) / 1e4
    assert sum(area.hectares for area in areas) == pytest.approx(hectares, rel=1e-3)
    written = json.loads((mapped.folder / "areas.json").read_text())
    assert json.dumps(written).count("building") == 1
    assert not (mapped.folder / ".blocks").exists()
    assert (mapped.folder / "quicklook.png").stat().st_size > 1000


def test_an_interrupted_map_goes_on_to_the_same_bytes_on_other_devices(
    workdir, mosaic, mapped, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweep_plan, "_MAX_BLOCK", 2**10)
    written = []

    def write_and_stop(folder, block, layers):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(block)
        blocks.write_block(folder, block, layers)

    with monkeypatch.context() as patch:
        patch.setattr(scene, "write_block", write_and_stop)
        with pytest.raises(KeyboardInterrupt):
            make_map(workdir, mosaic, tmp_path / "map", window=32, stride=16)
    left = []
    with monkeypatch.context() as patch:
        patch.setattr(scene, "write_block", lambda *a: (left.append(a[1]), blocks.write_block(*a)))
        folder = make_map(workdir, mosaic, tmp_path / "map", 8, window=32, stride=16).folder
    assert len(written) == 3
    assert len(left) > 4
    assert not set(written) & set(left)
    assert read_bytes(folder) == read_bytes(mapped.folder)
    assert (
        make_map(workdir, mosaic, tmp_path / "map", window=32, stride=16).seconds == 0
    )  # is complete


def test_another_scene_or_window_does_not_touch_a_map(workdir, mosaic, images, mapped, tmp_path):
    before = read_bytes(mapped.folder)
    with pytest.raises(UserError, match=r"holds a map with sliding window's stride 16; this one"):
        make_map(workdir, mosaic, mapped.folder, window=32, stride=8)
    other = write_scene(tmp_path / "other.tif", images[0]["image"])
    with pytest.raises(UserError, match="holds a map with scene's name mosaic; this one has other"):
        make_map(workdir, other, mapped.folder, window=32, stride=16)
    assert read_bytes(mapped.folder) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds thesis.tex and no map.json"):
        make_map(workdir, mosaic, tmp_path / "full")


def test_pixels_unlike_the_learned_ones_are_refused_before_anything_is_written(
    workdir, images, tmp_path
):
    bright = write_scene(tmp_path / "bright.tif", images[0]["image"].astype(np.uint16) * 100)
    with pytest.raises(UserError, match="--scale 100"):
        make_map(workdir, bright, tmp_path / "map")
    assert not (tmp_path / "map").exists()


def test_a_scene_without_data_leaves_nothing(workdir, tmp_path):
    empty = write_scene(tmp_path / "empty.tif", np.zeros((40, 50, 4), np.uint8), nodata=0)
    with pytest.raises(UserError, match=r"none of its 40 × 50 pixels has data"):
        make_map(workdir, empty, tmp_path / "map")
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (31, 32), (33, 37)])
def test_every_pixel_of_any_size_is_covered(workdir, images, size, tmp_path):
    height, width = size
    repeats = math.ceil(width / images[0]["image"].shape[1])
    image = np.tile(images[0]["image"], (1, repeats, 1))[:height, :width]
    path = write_scene(tmp_path / "scene.tif", image, crs=None)
    made = make_map(workdir, path, tmp_path / "map")
    assert read(made.folder / "classes.tif").shape == size
    assert (read(made.folder / "classes.tif") < 6).all()
    assert (read(made.folder / "confidence.tif") <= 100).all()
    assert not made.areas.is_placed
    shutil.rmtree(made.folder)


def test_a_checkpoint_without_a_class_for_each_pixel_is_refused(trained):
    with pytest.raises(UserError, match=r"its objective is classification.*expected segmentation"):
        open_map_model(trained("classification").workdir)
