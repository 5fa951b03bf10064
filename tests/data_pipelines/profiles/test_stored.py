import json
import shutil

import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.preparing.build import build
from data_pipelines.profiles.stored import PROFILES, load_accepted, load_profile, observe_dataset
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


@pytest.fixture
def copy(data_dir, tmp_path):
    """A data directory with copies of two datasets, to change."""
    for name in ("demo_scenes", "demo_aerial"):
        shutil.copytree(data_dir / name, tmp_path / name)
    return tmp_path


def read_pixels(dataset, split):
    source = select_subset(dataset, split).examples
    return np.stack([source[i]["image"] for i in range(len(source))])


def test_building_measures_each_split_and_all_together(data_dir):
    dataset = open_dataset("demo_aerial/tiny", data_dir)
    for split in dataset.splits:
        profile = load_profile(dataset, split)
        pixels = read_pixels(dataset, split)[:, ::4]
        assert not profile.is_sample
        assert profile.images == len(pixels)
        np.testing.assert_allclose(profile.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-5)
        median = np.percentile(pixels, 50, axis=(0, 1, 2), method="inverted_cdf")
        np.testing.assert_array_equal(profile.quantiles[4], median)


def test_a_split_expression_has_the_profile_of_its_split(data_dir):
    dataset = open_dataset("demo_aerial/tiny", data_dir)
    assert load_profile(dataset, "train[50%].rest") == load_profile(dataset, "train")


def test_classes_are_counted_in_pixels_or_examples(data_dir):
    scenes = open_dataset("demo_scenes/tiny", data_dir)
    profile = load_profile(scenes, "all")
    assert profile.counted == "examples"
    assert [(item.name, item.number, item.count) for item in profile.classes] == [
        (name, number, 8) for number, name in enumerate(scenes.classes)
    ]
    aerial = open_dataset("demo_aerial/tiny", data_dir)
    profile = load_profile(aerial, "test")
    source = select_subset(aerial, "test").examples
    masks = np.stack([source[i]["mask"] for i in range(len(source))])
    assert profile.counted == "pixels"
    counts = np.bincount(masks.ravel(), minlength=256)[: len(aerial.classes)]
    assert [item.count for item in profile.classes] == counts.tolist()
    assert tuple(item.colour for item in profile.classes) == aerial.colours


def test_selected_bands_are_matched_by_name(data_dir):
    dataset = open_dataset("demo_tiles/tiny", data_dir, ("nir", "red"))
    assert load_profile(dataset, "train").names == ("nir", "red")


def test_a_dataset_built_without_profiles_is_sampled(copy):
    dataset = open_dataset("demo_scenes/tiny", copy)
    stored = load_profile(dataset, "all")
    (dataset_file,) = copy.glob(f"demo_scenes/*/*/{PROFILES}")
    dataset_file.unlink()
    sampled = load_profile(dataset, "all")
    assert sampled.classes == stored.classes
    np.testing.assert_allclose(sampled.mean, stored.mean, rtol=1e-5)
    assert sampled == load_profile(dataset, "all")


def test_a_corrupt_file_is_refused(copy):
    (file,) = copy.glob(f"demo_scenes/*/*/{PROFILES}")
    dataset = open_dataset("demo_scenes/tiny", copy)
    splits = ("", "[]", "{}", '{"splits": 1}', json.dumps({"splits": {"all": {"format": 99}}}))
    for text in splits:
        file.write_text(text)
        with pytest.raises(UserError, match=rf"file .*{PROFILES}: has no "):
            load_profile(dataset, "all")
    file.write_text('{"accepted": 3}')
    with pytest.raises(UserError, match="no valid list of accepted checks"):
        load_accepted(dataset)


def test_profiles_do_not_depend_on_the_number_of_workers(tmp_path):
    profiles = []
    for workers in (1, 2):
        folder = build("demo_scenes/tiny", tmp_path / str(workers), workers=workers)
        profiles.append((folder / PROFILES).read_text())
    assert profiles[0] == profiles[1]


def test_a_sample_is_the_same_each_time(data_dir):
    dataset = open_dataset("demo_scenes/tiny", data_dir)
    first, second = (observe_dataset(dataset, "train[50%]") for _ in range(2))
    assert first.images == 40
    np.testing.assert_array_equal(first.pixels, second.pixels)
