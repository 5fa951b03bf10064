"""Descriptions of datasets before they are prepared."""

import pytest

from data_pipelines.errors import UserError
from data_pipelines.preparing.published import count_published_examples, published_dataset
from data_pipelines.sources.opening import open_dataset
from data_pipelines.sources.subset import select_subset


@pytest.mark.parametrize(
    ("name", "split", "examples"),
    [
        ("bigearthnet/v1/rgbn", "all", 590_326),
        ("bigearthnet/v1/rgb", "train", 269_695),
        ("bigearthnet/v2/rgbn", "all", 549_488),
        ("nasc_tg2/rgbn", "all", 20_000),
        ("nasc_tg2/rgbn", "all[2:8].rest", 16_000),
        ("eurosat/all", "train[16 per class]", 160),
        ("potsdam/rgbn", "train", 24 * 361),
        ("potsdam/rgbn", "test", 14 * 361),
    ],
)
def test_published_numbers_of_examples(name, split, examples):
    assert count_published_examples(published_dataset(name), split) == examples


@pytest.mark.parametrize("name", ["demo_tiles", "demo_scenes", "demo_aerial", "demo_objects"])
def test_the_published_description_matches_the_prepared_dataset(name, data_dir):
    published = published_dataset(f"{name}/tiny")
    prepared = open_dataset(f"{name}/tiny", data_dir)
    for field in ("sensor", "image_shape", "image_dtype", "target", "classes", "splits", "colours"):
        assert getattr(published, field) == getattr(prepared, field)
    for split in ("all", "all[3:7]", "all[3:7].rest", "train[33%][50%].rest", "train[1 per class]"):
        assert count_published_examples(published, split) == len(select_subset(prepared, split))


def test_numbers_that_depend_on_the_examples_are_unknown():
    patches = published_dataset("bigearthnet/v1/rgbn")
    assert count_published_examples(patches, "all[not snow]") is None
    # The classes of multi-label examples are the combinations of their labels.
    assert count_published_examples(patches, "train[4 per class]") is None
    # Windows overlap: the number that share no pixel with the others depends on the selected ones.
    assert count_published_examples(published_dataset("potsdam/rgbn"), "train[50%].rest") is None
    assert count_published_examples(published_dataset("geotiff_tiles"), "train") is None


def test_an_unknown_split_is_reported():
    with pytest.raises(UserError, match="no split 'validation'"):
        count_published_examples(published_dataset("nasc_tg2/rgbn"), "validation")
