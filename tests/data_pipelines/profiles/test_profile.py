import copy
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from data_pipelines.bands import SENTINEL2_L2A, SENTINEL2_RGB
from data_pipelines.errors import UserError
from data_pipelines.profiles.counts import SplitCounts, count_image
from data_pipelines.profiles.measurement import make_profile, make_published_profile
from data_pipelines.profiles.profile import ClassProfile, DataProfile

SENSOR = SENTINEL2_L2A.select(["red", "green", "nir"])
CLASSES = (ClassProfile("water", 0, (0, 0, 255), 12), ClassProfile("land", 1, (), 34))
JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=5),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def profile():
    counts = SplitCounts()
    image = np.random.default_rng(0).integers(0, 3000, (8, 8, 3)).astype(np.uint16)
    counts.add(count_image(image))
    return make_profile(SENSOR, (8, 8), counts, True, "pixels", CLASSES)


def write_and_read(profile):
    return DataProfile.from_dict(json.loads(json.dumps(profile.to_dict(), allow_nan=False)))


def list_paths(value, path=()):
    """Return the path of every value in a JSON object."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from list_paths(inner, (*path, key))


def test_a_profile_is_restored_from_json(profile):
    once = write_and_read(profile)
    assert write_and_read(once) == once
    assert once.classes == CLASSES
    np.testing.assert_allclose(once.mean, profile.mean, rtol=1e-5)
    np.testing.assert_allclose(once.quantiles, profile.quantiles)


def test_a_profile_of_four_bands_has_a_few_kilobytes(profile):
    assert len(json.dumps(profile.to_dict())) < 3000


def test_bands_are_selected_with_their_correlation(profile):
    selected = profile.select(["nir", "red"])
    assert selected.names == ("nir", "red")
    assert selected.correlation[0][1] == profile.correlation[2][0]
    np.testing.assert_array_equal(selected.quantiles, profile.quantiles[:, [2, 0]])


@hypothesis.settings(max_examples=300)
@hypothesis.given(strategies.data())
def test_a_hostile_profile_is_refused_in_one_line(profile, data):
    stored = copy.deepcopy(profile.to_dict())
    *parents, last = data.draw(strategies.sampled_from(list(list_paths(stored))))
    parent = stored
    for key in parents:
        parent = parent[key]
    if isinstance(parent, dict) and data.draw(strategies.booleans()):
        del parent[last]
    else:
        parent[last] = data.draw(JSON)
    message = ""
    try:
        write_and_read(DataProfile.from_dict(stored))
    except UserError as error:
        message = str(error)
    assert not message or message.startswith("data profile: ")
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_profile_that_is_no_object_is_refused(value):
    with pytest.raises(UserError, match="expected a JSON object"):
        DataProfile.from_dict(value)


def test_a_field_of_a_later_version_is_ignored(profile):
    stored = profile.to_dict()
    stored["new"] = stored["bands"][0]["new"] = 1
    assert DataProfile.from_dict(stored).names == profile.names


def test_published_statistics_make_a_profile():
    profile = make_published_profile(SENSOR, (120, 120), "uint16")
    assert profile.images == 0
    assert [band.mean for band in profile.bands] == [590.24, 614.22, 2218.95]
    assert (np.diff(profile.quantiles, axis=0) > 0).all()
    assert (profile.quantiles > 0).all()
    assert write_and_read(profile).bands == write_and_read(write_and_read(profile)).bands


def test_a_sensor_without_statistics_has_no_published_profile():
    assert make_published_profile(SENTINEL2_RGB, (64, 64), "uint8") is None
