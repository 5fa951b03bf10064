import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment.planes import on_planes
from PIL import Image

from ssl_jax.augment import geometry
from ssl_jax.augment.geometry import Window

resample = on_planes(geometry.resample)
KEYS = jax.random.split(jax.random.key(0), 2000)


def draw_image(height=30, width=40, bands=4, seed=0):
    return np.random.default_rng(seed).random((height, width, bands)).astype(np.float32)


def resize_with_pillow(image, window, size, method):
    """Crop and resize each band with Pillow in its 32-bit float mode."""
    top, left, height, width = (int(x) for x in window)
    resampling = getattr(Image.Resampling, method.upper())
    bands = [
        Image.fromarray(band[top : top + height, left : left + width]).resize(
            (size, size), resampling
        )
        for band in np.moveaxis(image, -1, 0)
    ]
    return np.stack(bands, axis=-1)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("window", [(0, 0, 30, 40), (3, 5, 7, 9), (11, 2, 19, 31)])
def test_resample_is_crop_and_resize_of_pillow(method, window):
    image = draw_image()
    ours = resample(jnp.asarray(image), Window(*window), 16, method)
    np.testing.assert_allclose(ours, resize_with_pillow(image, window, 16, method), atol=2e-6)


def test_an_image_resampled_to_its_own_size_is_unchanged():
    image = draw_image(24, 24)
    same = resample(jnp.asarray(image), geometry.centre_window(24, 24), 24, "bicubic")
    np.testing.assert_allclose(same, image, atol=1e-6)


def test_random_windows_have_uniform_area_and_log_uniform_ratio():
    draw = jax.vmap(lambda k: geometry.random_window(k, 200, 200, (0.1, 0.5), (3 / 4, 4 / 3)))
    window = draw(KEYS)
    area = np.asarray(window.height * window.width) / 200**2
    ratio = np.log(np.asarray(window.width / window.height))
    assert (np.abs(np.quantile(area, [0.25, 0.5, 0.75]) - [0.2, 0.3, 0.4]) < 0.02).all()
    quartiles = np.log(4 / 3) * np.array([-0.5, 0, 0.5])
    assert (np.abs(np.quantile(ratio, [0.25, 0.5, 0.75]) - quartiles) < 0.02).all()
    assert (np.asarray(window.top) >= 0).all()
    assert (np.asarray(window.top + window.height) <= 200).all()
    assert (np.asarray(window.left + window.width) <= 200).all()
    position = np.asarray(window.left / (200 - window.width))
    assert abs(position.mean() - 0.5) < 0.02
    assert position.min() < 0.02
    assert position.max() > 0.98


def test_a_window_that_cannot_fit_falls_back_to_the_centre():
    window = geometry.random_window(jax.random.key(0), 10, 40, (0.9, 1.0), (3 / 4, 4 / 3))
    np.testing.assert_array_equal(np.array(window), [0, 13, 10, 13])


def test_full_crop_is_the_resized_image():
    image = jnp.asarray(draw_image(20, 20))
    window = geometry.random_window(jax.random.key(1), 20, 20, (1, 1), (1, 1))
    crop = resample(image, window, 10, "bilinear")
    np.testing.assert_allclose(
        crop, resize_with_pillow(np.asarray(image), (0, 0, 20, 20), 10, "bilinear"), atol=2e-6
    )


def test_nearest_mask_follows_the_image():
    mask = np.random.default_rng(0).integers(0, 6, (30, 40)).astype(np.uint8)
    window = Window(3, 5, 21, 21)
    ours = geometry.resample_mask(jnp.asarray(mask), window, 7, outside=255)
    np.testing.assert_array_equal(ours, mask[3:24, 5:26][1::3, 1::3])
    assert ours.dtype == np.uint8


def test_outside_the_image_pixels_are_black_and_labels_are_outside():
    image, mask = jnp.ones((4, 4, 2)), jnp.ones((4, 4), jnp.uint8)
    window = Window(-2, -2, 8, 8)
    padded = np.zeros((8, 8))
    padded[2:6, 2:6] = 1
    np.testing.assert_array_equal(resample(image, window, 8)[..., 0], padded)
    outside = geometry.resample_mask(mask, window, 8, outside=255)
    np.testing.assert_array_equal(outside, np.where(padded == 1, 1, 255))


def test_scaled_windows_have_the_given_range_of_factors():
    draw = jax.vmap(lambda k: geometry.random_scaled_window(k, 100, 100, 50, (0.25, 2.0)))
    window = draw(KEYS)
    factor = 50 / np.asarray(window.width)
    assert abs(factor.mean() - 1.125) < 0.03
    within = np.asarray(window.width) <= 100
    assert (np.asarray(window.top)[within] >= -1e-3).all()
    assert (np.asarray(window.top)[~within] <= 1e-3).all()  # covers the image


def test_flips_and_turns_are_those_of_numpy():
    image = draw_image(6, 6)
    x = jnp.asarray(image)
    np.testing.assert_array_equal(on_planes(geometry.horizontal_flip)(x), np.flip(image, 1))
    np.testing.assert_array_equal(on_planes(geometry.vertical_flip)(x), np.flip(image, 0))
    for turns in range(4):
        np.testing.assert_array_equal(
            on_planes(geometry.quarter_turns)(x, turns), np.rot90(image, turns)
        )
