"""Datasets of real images, from the folder `SSL_JAX_REALDATA`; without it all tests are skipped."""

import os
from pathlib import Path

import pytest
from realdata.recipes import SCENE

from data_pipelines.preparing.build import build


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    if not (real := os.environ.get("SSL_JAX_REALDATA", "")):
        pytest.skip("SSL_JAX_REALDATA is not set")
    folder = tmp_path_factory.mktemp("data")
    build("geotiff_tiles/naip", folder, manual_dir=Path(real, "naip_rgbn"))
    patches = Path(real, "bigearthnet_v1")
    build("bigearthnet/v1/rgbn", folder, manual_dir=patches, fields=["lists=,", "name=v1/real"])
    build(SCENE, folder, manual_dir=Path(real, "sentinel2_mask"))
    return folder
