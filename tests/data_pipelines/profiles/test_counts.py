import io

import hypothesis
import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import strategies

from data_pipelines.bands import SENTINEL2_L2A
from data_pipelines.profiles.counts import SplitCounts, count_image
from data_pipelines.profiles.measurement import make_profile
from data_pipelines.profiles.profile import PERCENTS

SENSOR = SENTINEL2_L2A.select(["red", "nir"])


def count(images):
    counts = SplitCounts()
    for image in images:
        counts.add(count_image(image))
    return counts


def assert_equal(first, second):
    assert vars(first).keys() == vars(second).keys()
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, vars(second)[name], err_msg=name)


@hypothesis.given(
    arrays.arrays(
        strategies.sampled_from([np.uint8, np.uint16]),
        strategies.tuples(
            strategies.integers(1, 4),
            strategies.integers(1, 9),
            strategies.integers(1, 9),
            strategies.just(2),
        ),
    )
)
def test_the_statistics_are_those_of_every_fourth_row(images):
    profile = make_profile(SENSOR, images.shape[1:3], count(images))
    pixels = images[:, ::4].reshape(-1, 2).astype(np.float64)
    has_data = pixels.any(axis=1)
    assert profile.nodata == np.mean(~has_data)
    pixels = pixels[has_data] if has_data.any() else pixels[:1]
    expected = np.percentile(pixels, PERCENTS, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(profile.quantiles, expected)
    np.testing.assert_allclose(profile.mean, pixels.mean(axis=0), rtol=1e-12)
    stds = [band.std for band in profile.bands]
    np.testing.assert_allclose(stds, pixels.std(axis=0), rtol=1e-9, atol=1e-6)
    for index, band in enumerate(profile.bands):
        assert band.saturated == np.mean(pixels[:, index] == np.iinfo(images.dtype).max)
        assert band.beyond == np.mean(pixels[:, index] > 10_001)


def test_the_correlation_is_that_of_every_fourth_row_and_column():
    red = np.random.default_rng(0).normal(2000, 500, (40, 40))
    nir = red + np.random.default_rng(1).normal(1000, 500, (40, 40))
    image = np.stack([red, nir], axis=-1).astype(np.uint16)
    (_, found), _ = make_profile(SENSOR, (40, 40), count([image])).correlation
    expected = np.corrcoef(image[::4, ::4].reshape(-1, 2).T)[0, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert 0.6 < found < 0.8


def test_a_collar_without_data_changes_nothing_but_its_share():
    image = np.random.default_rng(0).integers(1, 3000, (40, 40, 2)).astype(np.uint16)
    collar = np.zeros((40, 80, 2), np.uint16)
    collar[:, 40:] = image
    with_collar, without = (make_profile(SENSOR, (40, 40), count([i])) for i in (collar, image))
    assert with_collar.nodata == 0.5
    assert with_collar.bands == without.bands
    np.testing.assert_allclose(with_collar.correlation, without.correlation)


def test_a_constant_band_correlates_with_none():
    image = np.full((8, 8, 2), 1000, np.uint16)
    image[..., 1] = np.arange(64).reshape(8, 8)
    profile = make_profile(SENSOR, (8, 8), count([image]))
    assert profile.correlation == ((1.0, 0.0), (0.0, 1.0))


def test_counts_of_parts_add_up_to_those_of_the_whole():
    images = np.random.default_rng(0).integers(0, 3000, (6, 8, 8, 2)).astype(np.uint16)
    merged = SplitCounts()
    for part in (images[:2], images[:0], images[2:]):
        merged.merge(count(part))
    assert_equal(merged, count(images))


def test_counts_survive_being_written():
    file = io.BytesIO()
    counts = count(np.random.default_rng(0).integers(0, 255, (2, 8, 8, 2)).astype(np.uint8))
    np.savez(file, **counts.to_arrays())
    file.seek(0)
    with np.load(file) as stored:
        assert_equal(SplitCounts.from_arrays(stored), counts)
    assert SplitCounts.from_arrays(SplitCounts().to_arrays()).histograms is None
