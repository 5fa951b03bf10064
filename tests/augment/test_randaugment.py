import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augment.planes import on_planes
from jax.sharding import PartitionSpec as P
from PIL import Image, ImageEnhance, ImageOps

from ssl_jax.augment import affine
from ssl_jax.augment.randaugment import (
    GEOMETRIC_OPERATIONS,
    VALUE_OPERATIONS,
    OperationSettings,
    RandAugment,
    apply_operation,
)

NAMES = [*VALUE_OPERATIONS, *GEOMETRIC_OPERATIONS]
FILL = (124, 116, 104)  # timm's value for ImageNet, its mean


def draw_pixels(seed=0, height=40, width=30, bands=3, low=20, high=220):
    """Draw an 8-bit image, smooth enough to be resampled, with noise but without extremes."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((height, width))[..., None]
    waves = np.sin(y / rng.uniform(2, 6, bands) + 3 * rng.random(bands)) + np.cos(x / 4)
    values = 120 + 40 * waves + rng.normal(0, 8, (height, width, bands))
    return np.clip(values, low, high).astype(np.uint8)


@functools.cache
def compile_operation(rgb):
    return jax.jit(
        lambda number, image, level, signed, fill: on_planes(apply_operation, 1)(
            number, image, OperationSettings(level, signed, fill, rgb)
        )
    )


def apply_ours(name, pixels, level, sign=1, rgb=(0, 1, 2), fill=()):
    """Apply an operation to unit values and return the result in steps of 1/255."""
    fill = fill or (FILL if pixels.shape[2] == 3 else range(pixels.shape[2]))
    image, fill = (np.asarray(x, np.float32) / 255 for x in (pixels, fill))
    return 255 * np.asarray(
        compile_operation(rgb)(NAMES.index(name), image, level, sign * level, fill)
    )


def apply_pillow(name, pixels, level, sign=1):
    """Apply timm's function of Pillow, with timm's arguments for a level and a sign."""
    image = Image.fromarray(pixels)
    width, height = image.size
    factor = max(0.1, 1 + sign * 0.9 * level)
    maps = {
        "shear_x": (1, sign * 0.3 * level, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, sign * 0.3 * level, 1, 0),
        "translate_x": (1, 0, sign * 0.45 * level * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, sign * 0.45 * level * height),
    }
    cubic = Image.Resampling.BICUBIC
    if name in maps:
        size, method = image.size, Image.Transform.AFFINE
        return np.asarray(image.transform(size, method, maps[name], cubic, fillcolor=FILL))
    add = min(128, int(level * 110))
    operations = {
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "posterize": lambda: ImageOps.posterize(image, 4 - int(level * 4)),
        "solarize": lambda: ImageOps.solarize(image, 256 - min(256, int(level * 256))),
        "solarize_add": lambda: image.point(
            [min(255, i + add) if i < 128 else i for i in range(256)] * 3
        ),
        "color": lambda: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "rotate": lambda: image.rotate(sign * 30 * level, resample=cubic, fillcolor=FILL),
    }
    return np.asarray(operations[name]())


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_agrees_with_pillow(name):
    exact = {"invert", "posterize", "solarize", "solarize_add", "equalize"}
    for level in (0.0, 0.35, 0.9, 1.0):
        for sign in (1, -1):
            pixels = draw_pixels(seed=int(10 * level))
            expected = apply_pillow(name, pixels, level, sign).astype(float)
            difference = apply_ours(name, pixels, level, sign) - expected
            if name in exact:
                assert np.abs(difference).max() < 1e-3, (level, sign)
            elif name in ("color", "contrast", "sharpness"):  # gray or mean is rounded
                assert np.abs(difference).max() < 1.5, (level, sign)
            else:  # Pillow truncates
                assert -1e-3 < difference.min() <= difference.max() < 1 + 1e-3, (level, sign)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("color", "contrast")])
def test_every_band_is_treated_separately(name):
    pixels = draw_pixels(bands=5)
    all_bands = apply_ours(name, pixels, 0.9, rgb=(), fill=range(5))
    for band in range(5):
        one_band = apply_ours(name, pixels[..., [band]], 0.9, rgb=(), fill=[band])
        np.testing.assert_allclose(all_bands[..., [band]], one_band, atol=1e-3)


def test_color_and_contrast_use_the_mean_of_the_bands_as_gray():
    pixels = draw_pixels(bands=4, low=100, high=150)
    gray = pixels.mean(axis=2, keepdims=True)
    factor = 1 - 0.9 * 0.6
    expected = gray + factor * (pixels - gray)
    np.testing.assert_allclose(apply_ours("color", pixels, 0.6, -1, ()), expected, atol=1e-3)
    expected = gray.mean() + factor * (pixels - gray.mean())
    np.testing.assert_allclose(apply_ours("contrast", pixels, 0.6, -1, ()), expected, atol=1e-3)


def test_color_of_red_green_and_blue_does_not_change_the_near_infrared():
    pixels = draw_pixels(bands=4)
    changed = apply_ours("color", pixels, 0.6, -1, (2, 1, 0))
    np.testing.assert_allclose(changed[..., 3], pixels[..., 3], atol=1e-4)
    rgb_only = apply_ours("color", pixels[..., [2, 1, 0]], 0.6, -1)
    np.testing.assert_allclose(changed[..., [2, 1, 0]], rgb_only, atol=1e-3)


def test_values_between_8_bit_steps_are_not_rounded():
    values = np.linspace(0.1, 0.2, 24 * 24, dtype=np.float32).reshape(24, 24, 1)
    for name in set(NAMES) - {"posterize"}:
        changed = apply_ours(name, 255 * values, 0.9, rgb=(), fill=[0])
        assert len(np.unique(changed)) > 200, name
    equalized = apply_ours("equalize", 255 * values, 0.9, rgb=())
    assert (np.diff(equalized.reshape(-1)) >= -1e-3).all()
    assert equalized.max() - equalized.min() > 230


def test_operations_and_signs_are_drawn_uniformly_and_applied_with_probability_half():
    image = draw_pixels(height=24, width=24).astype(np.float32) / 255
    draw = RandAugment(1, magnitude_std=0.0, fill=tuple(v / 255 for v in FILL), rgb=(0, 1, 2))
    keys = jax.random.split(jax.random.key(0), 4096)
    drawn = np.asarray(jax.jit(jax.vmap(on_planes(draw, 1), (0, None)))(keys, image)).reshape(
        4096, -1
    )
    level = np.float32(0.9)
    candidates = {(n, s): apply_ours(n, 255 * image, level, s).reshape(-1) / 255 for n in NAMES
             for s in (1, -1)}  # fmt: skip
    remaining = np.ones(len(keys), bool)
    unchanged = np.abs(drawn - image.reshape(-1)).max(axis=1) < 1e-5
    assert abs(unchanged.mean() - 0.5) < 4 * math.sqrt(0.25 / len(keys))
    remaining &= ~unchanged
    for name in NAMES:
        fractions = []
        for sign in (1, -1):
            same = remaining & (np.abs(drawn - candidates[name, sign]).max(axis=1) < 1e-4)
            remaining &= ~same
            fractions.append(same.mean())
        assert abs(sum(fractions) - 0.5 / 15) < 4 * math.sqrt(0.5 / 15 / len(keys)), name
        if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "brightness"):
            assert abs(fractions[0] - fractions[1]) < 4 * math.sqrt(0.5 / 15 / len(keys)), name
    assert not remaining.any()


def test_magnitudes_are_normal_around_nine_and_clipped_at_ten():
    image = jnp.full((3, 3, 1), 0.2)
    keys = jax.random.split(jax.random.key(1), 30_000)
    draw = jax.jit(jax.vmap(on_planes(RandAugment(1, fill=(0.2,)), 1), (0, None)))
    values = np.asarray(draw(keys, image))[:, 1, 1, 0]
    brighter = values[(values > 0.3) & (values < 0.45)]  # only brightness gives these values
    levels = (brighter / 0.2 - 1) / 0.9
    expected = np.array([0.8178, 0.8663, 0.9, 0.9337, 0.9822])  # of a normal: 5, 25, … 95 %
    np.testing.assert_allclose(np.quantile(levels, [0.05, 0.25, 0.5, 0.75, 0.95]), expected,
                               atol=0.01)  # fmt: skip
    assert levels.max() == pytest.approx(1.0, abs=1e-5)
    assert abs((levels > 0.99999).mean() - 0.0228) < 4 * math.sqrt(0.0228 / len(levels))


def test_two_operations_are_composed_and_no_operation_is_the_identity():
    image = jnp.asarray(draw_pixels(height=24, width=24), jnp.float32) / 255
    assert (RandAugment()(jax.random.key(0), image) == image).all()
    once = jax.jit(on_planes(RandAugment(1, probability=1.0)._apply_random_operation, 1))
    twice = jax.jit(on_planes(RandAugment(2, probability=1.0), 1))
    first, second = jax.random.split(jax.random.key(5), 2)
    expected = once(second, once(first, image))
    np.testing.assert_allclose(twice(jax.random.key(5), image), expected, atol=1e-6)


def test_changes_do_not_depend_on_the_device_and_stay_in_range():
    images = np.stack([draw_pixels(seed, 24, 24, 4) for seed in range(32)]) / np.float32(255)
    keys = jax.random.split(jax.random.key(2), len(images))
    change = jax.vmap(on_planes(RandAugment(2), 1))
    expected = np.asarray(jax.jit(change)(keys, images))
    mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(change, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    np.testing.assert_allclose(jax.jit(mapped)(keys, images), expected, atol=1e-6)
    assert expected.min() >= 0
    assert expected.max() <= 1
    assert (np.abs(expected - images).max(axis=(1, 2, 3)) > 1e-3).sum() > 16


def test_a_rotation_by_a_right_angle_is_exact():
    image = jnp.asarray(draw_pixels(height=12, width=12), jnp.float32)
    turned = on_planes(affine.apply_affine)(
        image, affine.rotation_matrix(jnp.float32(90.0), 12, 12), jnp.zeros(3)
    )
    np.testing.assert_allclose(turned, jnp.rot90(image), atol=1e-3)
