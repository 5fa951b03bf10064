import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models import patchify, unpatchify
from ssl_jax.models.layers.patches import gather_tokens, resample_positions, sincos_table


def test_pixels_of_a_patch_are_row_by_row_with_bands_last():
    image = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = patchify(image, 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[1, 4], image[1, 2:4, 2:4].reshape(-1))


def test_unpatchify_inverts_patchify():
    image = jax.random.normal(jax.random.key(0), (2, 12, 20, 3))
    np.testing.assert_array_equal(unpatchify(patchify(image, 4), 4, (3, 5)), image)


def test_an_image_with_incomplete_patches_is_an_error():
    with pytest.raises(ValueError, match=r"120 × 124 pixels; expected multiples of patch_size 8"):
        patchify(jnp.zeros((1, 120, 124, 3)), 8)


def test_positions_follow_the_formula_of_mae():
    dim, rows, columns = 16, 3, 5
    expected = np.zeros((rows, columns, dim))
    for y in range(rows):
        for x in range(columns):
            for k in range(dim // 4):
                frequency = 1 / 10_000 ** (k / (dim / 4))
                values = [f(position * frequency) for position in (x, y) for f in (np.sin, np.cos)]
                expected[y, x, k :: dim // 4] = values
    table = sincos_table(dim, rows, columns)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, expected.reshape(-1, dim), atol=1e-7)


def test_resampling_stretches_the_table_over_the_image():
    table = sincos_table(8, 4, 4)
    np.testing.assert_array_equal(resample_positions(table, (4, 4), (4, 4)), table)
    constant = resample_positions(np.ones((16, 8), np.float32), (4, 4), (7, 3))
    assert constant.shape == (21, 8)
    np.testing.assert_allclose(constant, 1.0, rtol=1e-6)
    column = np.tile(np.arange(4.0, dtype=np.float32), 4)[:, None]
    finer = resample_positions(column, (4, 4), (4, 8)).reshape(4, 8)
    np.testing.assert_allclose(finer[:, 3:5].mean(), 1.5, rtol=1e-6)  # the middle stays the middle
    np.testing.assert_allclose(finer, finer[:1].repeat(4, axis=0), atol=1e-6)


def test_gather_tokens_is_indexing_and_its_gradient_the_transpose():
    tokens = jax.random.normal(jax.random.key(0), (2, 5, 3))
    indices = jnp.array([[4, 0], [1, 3]])
    gathered, transpose = jax.vjp(lambda t: gather_tokens(t, indices), tokens)
    np.testing.assert_array_equal(gathered[1], tokens[1][np.array([1, 3])])
    gradient = transpose(jnp.ones_like(gathered))[0]
    np.testing.assert_array_equal(gradient[..., 0], [[1, 0, 0, 0, 1], [0, 1, 0, 1, 0]])
