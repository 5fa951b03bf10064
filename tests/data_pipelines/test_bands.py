import json

import pytest

from data_pipelines.bands import (
    COMMON_BANDS,
    NAIP,
    SENSORS,
    SENTINEL2_L1C,
    SENTINEL2_L2A,
    Sensor,
)
from data_pipelines.errors import UserError


def test_bands_are_selected_by_name_or_alias_in_the_given_order():
    selected = SENTINEL2_L2A.select(("B08", "red", "b"))
    assert selected.names == ("nir", "red", "blue")
    assert SENTINEL2_L2A.indices(("nir", "R")) == (7, 3)


def test_every_name_and_alias_is_unique_and_ignores_case():
    for sensor in (*SENSORS.values(), COMMON_BANDS):
        for index, band in enumerate(sensor.bands):
            for name in (band.name, *band.aliases):
                assert sensor.indices([name, name.upper(), name.lower()]) == (index,) * 3


def test_a_missing_band_is_reported_with_the_available_ones():
    with pytest.raises(UserError, match=r"band 'swir16'.*naip.*red, green, blue, nir"):
        NAIP.select(("red", "swir16"))


def test_selecting_a_band_twice_is_an_error():
    with pytest.raises(UserError, match="twice"):
        NAIP.select(("red", "R"))


def test_a_sensor_is_unchanged_by_json():
    assert Sensor.from_dict(json.loads(json.dumps(NAIP.to_dict()))) == NAIP


@pytest.mark.parametrize(
    "description", [{}, {"name": "x", "resolution": 1, "bands": [{"name": "red"}]}]
)
def test_an_invalid_description_of_a_sensor_is_an_error(description):
    with pytest.raises(UserError, match="expected name, resolution and bands"):
        Sensor.from_dict(description)


def test_level_1c_has_the_bands_of_level_2a_plus_cirrus():
    wavelengths = {band.aliases: band.wavelength for band in SENTINEL2_L1C.bands}
    assert wavelengths.pop(("B10",)) == 1373.5
    assert wavelengths == {band.aliases: band.wavelength for band in SENTINEL2_L2A.bands}


def test_every_band_of_a_predefined_sensor_has_a_common_name():
    for sensor in SENSORS.values():
        assert COMMON_BANDS.select(sensor.names).names == sensor.names
        assert sensor == SENSORS[sensor.name]


def test_changing_the_scale_drops_the_statistics():
    assert NAIP.with_scale(1 / 255) == NAIP
    rescaled = NAIP.with_scale(1e-4)
    assert {band.scale for band in rescaled.bands} == {1e-4}
    assert not rescaled.measured


def test_published_statistics_of_bigearthnet():
    nir = SENTINEL2_L2A.select(["nir"]).bands[0]
    assert (nir.mean, nir.std, nir.scale) == (2218.95, 1365.46, 1e-4)
