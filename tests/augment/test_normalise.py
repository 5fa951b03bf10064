import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import bands
from ssl_jax.augment import Normalisation

SENTINEL = Normalisation(
    scale=(1e-4, 1e-4), offset=(0.0, -0.1), mean=(600.0, 2000.0), std=(300.0, 900.0)
)


def test_units_are_reflectances_clipped_to_the_unit_interval():
    dn = jnp.array([[0, 500], [2500, 2500], [65535, 12000]], jnp.uint16)
    expected = [[0.0, 0.0], [0.25, 0.15], [1.0, 1.0]]
    np.testing.assert_allclose(SENTINEL.unit(dn), expected, atol=1e-6)


def test_standardised_digital_numbers_have_zero_mean_and_unit_variance():
    dn = np.random.default_rng(0).normal(SENTINEL.mean, np.array(SENTINEL.std) / 3, (4096, 2))
    x = np.asarray(SENTINEL(jnp.asarray(np.clip(np.round(dn), 0, None), jnp.uint16)))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(x.std(0), 1 / 3, atol=0.02)
    unit = SENTINEL.unit(jnp.array([[900, 1100]], jnp.uint16))
    np.testing.assert_allclose(SENTINEL.standardise(unit), [[1.0, -1.0]], atol=1e-5)
    np.testing.assert_allclose(SENTINEL.restore(SENTINEL.standardise(unit)), unit, atol=1e-6)


def test_a_normalisation_has_the_bands_of_its_sensor_in_order():
    sensors = [x for x in vars(bands).values() if isinstance(x, bands.Sensor)]
    if not sensors:
        pytest.fail("data_pipelines.bands defines no sensor")
    for sensor in sensors:
        normalisation = Normalisation.from_sensor(sensor)
        assert normalisation.mean == tuple(b.mean for b in sensor.bands)
        hash(normalisation)
        assert all(len(v) == len(sensor.bands) for v in dataclasses.asdict(normalisation).values())
