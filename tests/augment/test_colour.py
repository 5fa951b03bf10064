import colorsys

import jax
import jax.numpy as jnp
import numpy as np
from augment.planes import on_planes

from ssl_jax.augment import colour


def draw_image(bands, seed=0):
    return np.random.default_rng(seed).random((5, 6, bands)).astype(np.float32)


def jitter(key, image, strengths, rgb=()):
    return on_planes(colour.Jitter.draw(key, strengths, rgb))(image)


def convert_in_hsv(image, change):
    """Change every pixel in HSV, with the standard library's conversion."""
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*p))) for p in image.reshape(-1, 3)]
    return np.reshape(pixels, image.shape)


def test_brightness_scales_and_contrast_keeps_the_mean_of_each_band():
    image = draw_image(5)
    np.testing.assert_allclose(on_planes(colour.brightness)(image, 0.3), image * 0.3, rtol=1e-6)
    mean = image.mean(axis=(0, 1))
    expected = mean + (image - mean) * 1.7
    np.testing.assert_allclose(
        on_planes(colour.contrast)(jnp.asarray(image), 1.7), expected, atol=1e-6
    )


def test_hue_shifts_along_the_colour_circle():
    image = draw_image(3)
    image[0, 0] = 0.5  # gray has no hue
    image[0, 1] = 0.0
    for shift in (-0.2, 0.0, 0.13, 0.5):
        expected = convert_in_hsv(image, lambda h, s, v, d=shift: ((h + d) % 1, s, v))
        np.testing.assert_allclose(
            on_planes(colour.hue)(jnp.asarray(image), shift), expected, atol=2e-6
        )


def test_saturation_is_scaled_up_to_pure_colours():
    image = draw_image(3)
    image[0, 0] = 0.5
    image[0, 1] = 0.0
    for factor in (0.0, 0.4, 1.0, 1.8, 50.0):
        expected = convert_in_hsv(image, lambda h, s, v, f=factor: (h, min(1, s * f), v))
        ours = on_planes(colour.saturation)(jnp.asarray(image), factor)
        np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_gray_is_luma_for_rgb_and_the_mean_for_other_bands():
    image = draw_image(4)
    mean = image.mean(-1, keepdims=True)
    np.testing.assert_allclose(
        on_planes(colour.gray)(jnp.asarray(image)), np.broadcast_to(mean, image.shape), rtol=1e-6
    )
    luma = image[..., [2, 1, 0]] @ [0.2989, 0.587, 0.114]
    ours = np.asarray(on_planes(colour.gray)(jnp.asarray(image), rgb=(2, 1, 0)))
    np.testing.assert_allclose(ours[..., :3], np.repeat(luma[..., None], 3, -1), rtol=1e-6)
    np.testing.assert_array_equal(ours[..., 3], image[..., 3])


def test_hue_and_saturation_do_not_change_the_near_infrared():
    image = jnp.asarray(draw_image(4))
    jittered = jitter(jax.random.key(0), image, (0.0, 0.0, 0.8, 0.2), rgb=(0, 1, 2))
    np.testing.assert_array_equal(jittered[..., 3], image[..., 3])
    assert not np.allclose(jittered[..., :3], image[..., :3])
    unchanged = jitter(jax.random.key(0), image, (0.0, 0.0, 0.8, 0.2))
    np.testing.assert_array_equal(unchanged, image)


def test_jitter_draws_factors_uniformly():
    image = jnp.full((2, 2, 4), 0.5)
    keys = jax.random.split(jax.random.key(0), 2000)
    strengths = (0.8, 0.0, 0.0, 0.0)
    factors = jax.vmap(lambda k: jitter(k, image, strengths)[0, 0, 0] / 0.5)(keys)
    quartiles = np.quantile(factors, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quartiles, [0.2, 0.6, 1.0, 1.4, 1.8], atol=0.06)


def test_jitter_applies_both_orders_and_clips_after_each_operation():
    image = jnp.asarray(np.linspace(0.0, 1.0, 48, dtype=np.float32).reshape(4, 4, 3))
    key = jax.random.key(3)

    keys = jax.random.split(key, 64)
    jittered = np.asarray(jax.vmap(lambda k: jitter(k, image, (0.8, 0.8, 0.0, 0.0)))(keys))
    first_operations = set()
    for k, result in zip(keys, jittered, strict=True):
        order, (first, second, *_) = np.asarray(jax.random.uniform(k, (2, 4)))
        b, c = 0.2 + 1.6 * first, 0.2 + 1.6 * second
        operations = [
            lambda x, b=b: np.clip(x * b, 0, 1),
            lambda x, c=c: np.clip(x.mean((0, 1)) + (x - x.mean((0, 1))) * c, 0, 1),
        ]
        indices = np.argsort(order[:2])
        first_operations.add(int(indices[0]))
        expected = operations[indices[1]](operations[indices[0]](np.asarray(image)))
        np.testing.assert_allclose(result, expected, atol=2e-6)
    assert first_operations == {0, 1}
