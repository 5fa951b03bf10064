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


def test_bands_come_by_name_or_alias_in_the_order_asked():
    selected = SENTINEL2_L2A.select(("B08", "red", "b"))
    assert selected.names == ("nir", "red", "blue")
    assert SENTINEL2_L2A.indices(("nir", "R")) == (7, 3)


def test_every_name_and_alias_means_one_band():
    for sensor in (*SENSORS.values(), COMMON_BANDS):
        for index, band in enumerate(sensor.bands):
            for name in (band.name, *band.aliases):
                assert sensor.indices([name, name.upper(), name.lower()]) == (index,) * 3


def test_a_missing_band_is_named_with_those_there_are():
    with pytest.raises(UserError, match=r"band 'swir16'.*naip.*red, green, blue, nir"):
        NAIP.select(("red", "swir16"))


def test_a_band_is_not_selected_twice():
    with pytest.raises(UserError, match="twice"):
        NAIP.select(("red", "R"))


def test_a_sensor_survives_json():
    assert Sensor.from_dict(json.loads(json.dumps(NAIP.to_dict()))) == NAIP


@pytest.mark.parametrize("broken", [{}, {"name": "x", "resolution": 1, "bands": [{"name": "red"}]}])
def test_a_broken_description_of_a_sensor_is_refused(broken):
    with pytest.raises(UserError, match="expected name, resolution and bands"):
        Sensor.from_dict(broken)


def test_level_1c_has_the_bands_of_level_2a_and_cirrus():
    described = {band.aliases: band.wavelength for band in SENTINEL2_L1C.bands}
    assert described.pop(("B10",)) == 1373.5
    assert described == {band.aliases: band.wavelength for band in SENTINEL2_L2A.bands}


def test_every_band_of_a_known_sensor_has_a_common_name():
    for sensor in SENSORS.values():
        assert COMMON_BANDS.select(sensor.names).names == sensor.names
        assert sensor == SENSORS[sensor.name]


def test_statistics_hold_for_digital_numbers_of_their_own_scale_alone():
    assert NAIP.with_scale(1 / 255) == NAIP
    other = NAIP.with_scale(1e-4)
    assert {band.scale for band in other.bands} == {1e-4}
    assert not other.measured


def test_known_statistics_of_bigearthnet():
    nir = SENTINEL2_L2A.select(["nir"]).bands[0]
    assert (nir.mean, nir.std, nir.scale) == (2218.95, 1365.46, 1e-4)
