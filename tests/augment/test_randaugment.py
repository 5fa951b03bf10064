import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from PIL import Image, ImageEnhance, ImageOps

from ssl_jax.augment import affine
from ssl_jax.augment.randaugment import (
    GEOMETRIC_OPERATIONS,
    VALUE_OPERATIONS,
    OperationSettings,
    RandAugment,
    apply,
)

NAMES = [*VALUE_OPERATIONS, *GEOMETRIC_OPERATIONS]
FILL = (124, 116, 104)  # timm's for ImageNet's mean


def draw_picture(seed=0, height=40, width=30, bands=3, low=20, high=220):
    """Smooth enough to be resampled, with noise, and neither black nor white."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((height, width))[..., None]
    waves = np.sin(y / rng.uniform(2, 6, bands) + 3 * rng.random(bands)) + np.cos(x / 4)
    values = 120 + 40 * waves + rng.normal(0, 8, (height, width, bands))
    return np.clip(values, low, high).astype(np.uint8)


@functools.cache
def compiled(rgb):
    return jax.jit(
        lambda number, image, level, signed, fill: apply(
            number, image, OperationSettings(level, signed, fill, rgb)
        )
    )


def ours(name, picture, level, sign=1, rgb=(0, 1, 2), fill=()):
    """The operation on unit values, in steps of 1/255."""
    fill = fill or (FILL if picture.shape[2] == 3 else range(picture.shape[2]))
    image, fill = (np.asarray(x, np.float32) / 255 for x in (picture, fill))
    return 255 * np.asarray(compiled(rgb)(NAMES.index(name), image, level, sign * level, fill))


def pillows(name, picture, level, sign=1):
    """timm's functions of Pillow, with the arguments it makes of a level and a sign."""
    image = Image.fromarray(picture)
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
        size, way = image.size, Image.Transform.AFFINE
        return np.asarray(image.transform(size, way, maps[name], cubic, fillcolor=FILL))
    add = min(128, int(level * 110))
    of = {
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
    return np.asarray(of[name]())


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_is_pillows(name):
    exact = {"invert", "posterize", "solarize", "solarize_add", "equalize"}
    for level in (0.0, 0.35, 0.9, 1.0):
        for sign in (1, -1):
            picture = draw_picture(seed=int(10 * level))
            theirs = pillows(name, picture, level, sign).astype(float)
            difference = ours(name, picture, level, sign) - theirs
            if name in exact:
                assert np.abs(difference).max() < 1e-3, (level, sign)
            elif name in ("color", "contrast", "sharpness"):  # of a gray or a mean that was rounded
                assert np.abs(difference).max() < 1.5, (level, sign)
            else:  # Pillow cuts the fraction off
                assert -1e-3 < difference.min() <= difference.max() < 1 + 1e-3, (level, sign)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("color", "contrast")])
def test_every_band_is_treated_by_itself(name):
    picture = draw_picture(bands=5)
    group_size = ours(name, picture, 0.9, rgb=(), fill=range(5))
    for band in range(5):
        alone = ours(name, picture[..., [band]], 0.9, rgb=(), fill=[band])
        np.testing.assert_allclose(group_size[..., [band]], alone, atol=1e-3)


def test_color_and_contrast_take_the_mean_of_the_bands_for_gray():
    picture = draw_picture(bands=4, low=100, high=150)
    gray = picture.mean(axis=2, keepdims=True)
    factor = 1 - 0.9 * 0.6
    expected = gray + factor * (picture - gray)
    np.testing.assert_allclose(ours("color", picture, 0.6, -1, ()), expected, atol=1e-3)
    expected = gray.mean() + factor * (picture - gray.mean())
    np.testing.assert_allclose(ours("contrast", picture, 0.6, -1, ()), expected, atol=1e-3)


def test_color_of_red_green_and_blue_leaves_the_near_infrared_alone():
    picture = draw_picture(bands=4)
    changed = ours("color", picture, 0.6, -1, (2, 1, 0))
    np.testing.assert_allclose(changed[..., 3], picture[..., 3], atol=1e-4)
    alone = ours("color", picture[..., [2, 1, 0]], 0.6, -1)
    np.testing.assert_allclose(changed[..., [2, 1, 0]], alone, atol=1e-3)


def test_reflectances_finer_than_a_step_are_not_rounded():
    values = np.linspace(0.1, 0.2, 24 * 24, dtype=np.float32).reshape(24, 24, 1)
    for name in set(NAMES) - {"posterize"}:
        changed = ours(name, 255 * values, 0.9, rgb=(), fill=[0])
        assert len(np.unique(changed)) > 200, name
    equalized = ours("equalize", 255 * values, 0.9, rgb=())
    assert (np.diff(equalized.reshape(-1)) >= -1e-3).all()
    assert equalized.max() - equalized.min() > 230


def test_operations_signs_and_the_chance_of_each_are_drawn_evenly():
    picture = draw_picture(height=24, width=24).astype(np.float32) / 255
    draw = RandAugment(1, magnitude_std=0.0, fill=tuple(v / 255 for v in FILL), rgb=(0, 1, 2))
    keys = jax.random.split(jax.random.key(0), 4096)
    drawn = np.asarray(jax.jit(jax.vmap(draw, (0, None)))(keys, picture)).reshape(4096, -1)
    level = np.float32(0.9)
    known = {(n, s): ours(n, 255 * picture, level, s).reshape(-1) / 255 for n in NAMES
             for s in (1, -1)}  # fmt: skip
    left = np.ones(len(keys), bool)
    unchanged = np.abs(drawn - picture.reshape(-1)).max(axis=1) < 1e-5
    assert abs(unchanged.mean() - 0.5) < 4 * math.sqrt(0.25 / len(keys))
    left &= ~unchanged
    for name in NAMES:
        shares = []
        for sign in (1, -1):
            same = left & (np.abs(drawn - known[name, sign]).max(axis=1) < 1e-4)
            left &= ~same
            shares.append(same.mean())
        assert abs(sum(shares) - 0.5 / 15) < 4 * math.sqrt(0.5 / 15 / len(keys)), name
        if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "brightness"):
            assert abs(shares[0] - shares[1]) < 4 * math.sqrt(0.5 / 15 / len(keys)), name
    assert not left.any()


def test_magnitudes_are_drawn_about_nine_and_end_at_ten():
    image = jnp.full((3, 3, 1), 0.2)
    keys = jax.random.split(jax.random.key(1), 30_000)
    draw = jax.jit(jax.vmap(RandAugment(1, fill=(0.2,)), (0, None)))
    values = np.asarray(draw(keys, image))[:, 1, 1, 0]
    brighter = values[(values > 0.3) & (values < 0.45)]  # only brightness leads there
    levels = (brighter / 0.2 - 1) / 0.9
    expected = np.array([0.8178, 0.8663, 0.9, 0.9337, 0.9822])  # of a normal: 5, 25, … 95 %
    np.testing.assert_allclose(np.quantile(levels, [0.05, 0.25, 0.5, 0.75, 0.95]), expected,
                               atol=0.01)  # fmt: skip
    assert levels.max() == pytest.approx(1.0, abs=1e-5)
    assert abs((levels > 0.99999).mean() - 0.0228) < 4 * math.sqrt(0.0228 / len(levels))


def test_two_operations_follow_each_other_and_none_is_the_identity():
    picture = jnp.asarray(draw_picture(height=24, width=24), jnp.float32) / 255
    assert (RandAugment()(jax.random.key(0), picture) == picture).all()
    once = jax.jit(RandAugment(1, probability=1.0)._once)
    twice = jax.jit(RandAugment(2, probability=1.0))
    first, second = jax.random.split(jax.random.key(5), 2)
    expected = once(second, once(first, picture))
    np.testing.assert_allclose(twice(jax.random.key(5), picture), expected, atol=1e-6)


def test_the_same_example_is_changed_alike_on_any_device_and_stays_in_range():
    images = np.stack([draw_picture(seed, 24, 24, 4) for seed in range(32)]) / np.float32(255)
    keys = jax.random.split(jax.random.key(2), len(images))
    change = jax.vmap(RandAugment(2))
    expected = np.asarray(jax.jit(change)(keys, images))
    mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(change, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    np.testing.assert_allclose(jax.jit(mapped)(keys, images), expected, atol=1e-6)
    assert expected.min() >= 0
    assert expected.max() <= 1
    assert (np.abs(expected - images).max(axis=(1, 2, 3)) > 1e-3).sum() > 16


def test_a_turn_by_a_right_angle_is_exact():
    image = jnp.asarray(draw_picture(height=12, width=12), jnp.float32)
    turned = affine.apply_affine(
        image, affine.rotation_matrix(jnp.float32(90.0), 12, 12), jnp.zeros(3)
    )
    np.testing.assert_allclose(turned, jnp.rot90(image), atol=1e-3)
