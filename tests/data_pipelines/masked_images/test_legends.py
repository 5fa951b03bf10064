import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.masked_images.legends import ColourLegend, suggest_values

channels = st.integers(0, 255)
colours = st.tuples(channels, channels, channels)


@given(st.lists(colours, min_size=1, max_size=5, unique=True), st.sampled_from([0, 1, 40, 127]))
def test_a_tolerant_legend_finds_the_nearest_colour(classes, tolerance):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20)).astype(np.uint8)
    pixels[:, 0, : len(classes)] = np.array(classes).T
    found = ColourLegend(tuple(classes), tolerance=tolerance).find_classes(pixels)
    distances = np.abs(pixels[None].astype(int) - np.array(classes)[:, :, None, None]).max(axis=1)
    expected = np.where(distances.min(axis=0) <= tolerance, distances.argmin(axis=0), 255)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("found", "count", "expected"),
    [
        ((10, 20, 255), 2, "--config.values=10,20"),
        ((0, 1, 2), 2, "--config.values=1,2 --config.ignore_label=0"),
        ((0, 0.5), 2, "expected whole numbers"),
        ((1, 2, 3, 4), 2, "expected a name for each in --config.classes"),
    ],
)
def test_the_suggested_numbers_are_as_many_as_the_classes(found, count, expected):
    assert expected in suggest_values(found, count, 255)
