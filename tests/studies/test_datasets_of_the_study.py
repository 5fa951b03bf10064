"""The datasets of the paper's study from archive to evaluation: build, load, train, evaluate."""

import numpy as np
import pytest
from bigearthnet_archives import V1, write_v1
from image_mask_files import paint_classes, random_classes, random_pixels, write
from small_configs import make_small_config

from data_pipelines.potsdam.nomenclature import CLASSES, COLOURS
from data_pipelines.preparing.build import build
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset
from ssl_jax.runs.evaluation import evaluate_checkpoint
from ssl_jax.runs.training import train

SIZE = 100, 90  # of a tile; not a multiple of the block size


@pytest.fixture(scope="module")
def study_data(tmp_path_factory):
    """Build two small tiles of Potsdam, in blocks of 16 pixels, and five patches of BigEarthNet."""
    folder = tmp_path_factory.mktemp("study")
    for seed, tile in enumerate(("2_10", "2_13")):
        name = folder / "potsdam" / f"top_potsdam_{tile}"
        write(name.with_name(f"{name.name}_RGBIR.tif"), random_pixels(seed, 4, *SIZE))
        masks = paint_classes(random_classes(seed, 6, *SIZE, block=16), COLOURS)
        write(name.with_name(f"{name.name}_label.tif"), masks)
    fields = ["train=2_10,", "test=2_13,", "window=32", "stride=16", "name=small"]
    build("potsdam/rgbn", folder, manual_dir=folder / "potsdam", fields=fields)
    build("bigearthnet/v1/rgbn", folder, manual_dir=write_v1(folder / "bigearthnet"))
    return folder


def test_upernet_trains_on_windows_of_potsdam_without_clutter(study_data, tmp_path):
    config = make_small_config("segmentation", study_data)
    config.data.update(name="potsdam/small", train="train", evaluation="test")
    config.evaluation.update(window=32, stride=24)  # not a multiple of the block size either
    config.steps = 2
    results = train(config, tmp_path)
    examples = results["data"]["examples"]
    assert [examples[split]["examples"] for split in ("train", "evaluation")] == [30, 30]
    assert np.isfinite(results["train"]["last_loss"])
    confusion = np.array(results["confusion"])
    assert confusion.shape == (5, 5)  # clutter is neither predicted nor counted
    clutter = CLASSES.index("clutter")
    pixels = np.bincount(random_classes(1, 6, *SIZE, block=16).reshape(-1), minlength=6)
    np.testing.assert_array_equal(confusion.sum(axis=1), np.delete(pixels, clutter))
    assert evaluate_checkpoint(tmp_path) == results["metrics"]


def test_an_evaluation_on_a_subset_of_windows_counts_their_pixels_only(study_data, tmp_path):
    config = make_small_config("segmentation", study_data)
    config.data.update(name="potsdam/small", train="test", evaluation="train[10%]")
    config.evaluation.update(window=32, stride=16)
    config.batch_size, config.steps = 8, 1
    results = train(config, tmp_path)
    (image,) = select_subset(open_dataset("potsdam/small", study_data), "train[10%]").images()
    labels = image.read(0, 0, *SIZE)["mask"]
    is_counted = (labels != 255) & (labels != CLASSES.index("clutter"))
    assert np.sum(results["confusion"]) == is_counted.sum()
    assert 0 < is_counted.sum() <= 3 * 32 * 32


def test_mae_trains_on_every_patch_of_bigearthnet_without_snow(study_data, tmp_path, on_devices):
    on_devices(4)
    config = make_small_config("mae", study_data)
    config.data.update(name="bigearthnet/v1/rgbn", train="all[not snow]", evaluation="")
    config.batch_size, config.steps = len(V1) - 1, 2
    results = train(config, tmp_path)
    assert results["data"]["examples"]["train"]["examples"] == len(V1) - 1
    assert np.isfinite(results["train"]["last_loss"])
