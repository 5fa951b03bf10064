"""Builds tell what is strange about the pixels, and refuse a band that has none."""

import json

import numpy as np
import pytest
from class_folder_images import write_class_folders
from data_profile.spectral_images import SENTINEL2, make_images

from data_pipelines.build import main
from data_pipelines.errors import UserError
from data_pipelines.profiles.stored import PROFILES, load_accepted
from data_pipelines.sources.opening import open_dataset


def build(folder, images, *arguments):
    """Build `class_folders/mine` from images of two classes."""
    write_class_folders(folder / "files", ("a", "b"), ".tif", images.__getitem__, len(images) // 2)
    paths = ["--manual_dir", str(folder / "files"), "--data_dir", str(folder), "--workers", "1"]
    return main(["class_folders/mine", *paths, *arguments])


def make_published_images(count):
    """Make images with the published mean of Sentinel-2's bands."""
    mean = [band.mean for band in SENTINEL2.bands]
    images = np.random.default_rng(0).normal(mean, 400, (count, 16, 16, 4))
    return images.clip(1, 20_000)


def test_a_plausible_dataset_is_built_without_a_word(tmp_path, capfd):
    images = make_published_images(20).astype(np.uint16)
    assert build(tmp_path, images, "--config.sensor=sentinel2_l2a") == 0
    assert "warning" not in capfd.readouterr().err


def test_an_added_constant_is_told_with_the_flag(tmp_path, capfd):
    images = (make_published_images(20) + 1000).astype(np.uint16)
    assert build(tmp_path, images, "--config.sensor=sentinel2_l2a") == 0
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert "class_folders/mine: values look like a product since baseline 04.00" in line
    assert line.endswith("--config.offset=-1000")


def test_sixteen_bits_that_would_be_cut_are_told_with_the_scale(tmp_path, capfd):
    images = (make_images(20, side=16) * 10.0).clip(0, 65_535).astype(np.uint16)
    assert build(tmp_path, images) == 0
    assert "nir are cut at 10,000" in capfd.readouterr().err


def test_a_constant_band_is_refused_unless_it_is_accepted(tmp_path):
    images = make_images(20, side=16)
    images[..., 3] = 65_535
    with pytest.raises(UserError, match=r"nir is constant 65,535; .* alpha .*: --accept constant"):
        build(tmp_path, images)
    assert not list(tmp_path.rglob("*.array_record*"))
    assert build(tmp_path, images, "--accept", "constant") == 0
    assert load_accepted(open_dataset("class_folders/mine", tmp_path)) == ("constant",)
    (file,) = tmp_path.rglob(PROFILES)
    assert json.loads(file.read_text())["splits"]["all"]["bands"][3]["std"] == 0


def test_a_check_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="--accept: found 'everything'; expected one of nan"):
        build(tmp_path, make_images(2, side=16), "--accept", "everything")
