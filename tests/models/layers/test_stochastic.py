import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models.layers.stochastic import drop_path, dropout, fold_in_keys

KEYS = jax.random.split(jax.random.key(0), 400)


@pytest.mark.parametrize("drop", [dropout, drop_path])
def test_dropping_preserves_the_mean(drop):
    x = jnp.ones((400, 5, 6))
    dropped = drop(KEYS, x, 0.25)
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert np.mean(dropped) == pytest.approx(1.0, abs=0.1)


def test_what_is_dropped_from_an_example_depends_only_on_its_key():
    x = jax.random.normal(jax.random.key(1), (400, 7))
    expected = dropout(KEYS, x, 0.5)
    np.testing.assert_array_equal(dropout(KEYS[100:103], x[100:103], 0.5), expected[100:103])


def test_whole_channels_are_dropped_together():
    kept = np.asarray(dropout(KEYS, jnp.ones((400, 3, 3, 8)), 0.5, whole_channels=True)) > 0
    assert (kept.all((1, 2)) | ~kept.any((1, 2))).all()
    assert 0.4 < kept.mean() < 0.6


def test_layers_draw_independently():
    x = jnp.ones((400, 8))
    first, second = (dropout(fold_in_keys(KEYS, index), x, 0.5) for index in (0, 1))
    assert (np.asarray(first == second)).mean() == pytest.approx(0.5, abs=0.05)


def test_without_keys_nothing_is_dropped():
    x = jnp.ones((2, 8))
    assert dropout(None, x, 0.5) is x
    assert drop_path(None, x, 0.5) is x
    assert fold_in_keys(None, 3) is None
