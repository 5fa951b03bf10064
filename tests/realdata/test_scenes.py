"""Real files as scenes, against rasterio and against what builders make of them."""

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from data_pipelines.bands import NAIP, SENTINEL2_L2A
from data_pipelines.bigearthnet.lists import PatchInfo
from data_pipelines.bigearthnet.patches import Patch, PatchReader
from data_pipelines.profiles.observation import observe
from data_pipelines.scenes import open_scene

BANDS = ("red", "green", "blue", "nir")


@pytest.fixture
def real():
    if not (folder := os.environ.get("SSL_JAX_REALDATA", "")):
        pytest.skip("SSL_JAX_REALDATA is not set")
    return Path(folder)


def test_naip_on_two_dates_is_two_scenes_of_one_place(real):
    paths = sorted(real.glob("naip_rgbn/*.tif"))[:2]
    scenes = [open_scene(path, NAIP, BANDS) for path in paths]
    assert scenes[0].georeference.crs == scenes[1].georeference.crs
    assert scenes[0].digest != scenes[1].digest
    for scene, path in zip(scenes, paths, strict=True):
        with rasterio.open(path) as raster:
            expected, is_data = np.moveaxis(raster.read(), 0, -1), raster.dataset_mask() > 0
        read = scene.read(0, 0, *scene.size)
        np.testing.assert_array_equal(read["has_data"], is_data)
        np.testing.assert_array_equal(read["image"][is_data], expected[is_data])
        observed = observe(scene.sample_pixels())
        np.testing.assert_allclose(observed.mean, expected[is_data].mean(axis=0), rtol=0.3)


def test_a_bigearthnet_patch_is_the_image_that_networks_learn(real):
    folder = next(path for path in sorted(real.glob("bigearthnet_v1/*/*")) if path.is_dir())
    names = ("B04", "B03", "B02", "B08", "B05", "B11", "B01")
    sensor = SENTINEL2_L2A.select(names)
    patch = Patch(folder.name, PatchInfo(labels=()), str(folder), {})
    ((_, example),) = PatchReader(names, "bilinear", ())(patch)
    scene = open_scene(folder, sensor)
    assert (scene.size, scene.dtype) == ((120, 120), "uint16")
    image = scene.read(0, 0, 120, 120)["image"]
    np.testing.assert_array_equal(image[..., :4], example["image"][..., :4])
    # GDAL rounds halves up.
    np.testing.assert_allclose(image.astype(int), example["image"].astype(int), atol=1)
