"""Augmentations against their definitions in NumPy float64, Pillow, PyTorch and colorsys.

While tests/augment tests single operations on small images, these tests compare whole views at the
size of the recipes, the distributions of their random numbers, and views on several devices.

Statistical tests use 20,000 fixed keys and a significance level of 1e-4: with other keys, a correct
implementation would fail one in ten thousand of them.
"""

import colorsys
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from augment.planes import on_planes
from jax.sharding import PartitionSpec as P
from PIL import Image
from relative_error import assert_agreement
from scipy import stats

from ssl_jax.augment import (
    Augmentation,
    Normalisation,
    SegmentationAugmentation,
    augmentation,
    blur,
    colour,
    geometry,
)
from ssl_jax.augment.geometry import Window
from ssl_jax.devices.mesh import make_data_mesh, pmap_over_mesh
from ssl_jax.objectives.shared import make_example_keys

DRAWS = 20_000
KEYS = jax.random.split(jax.random.key(0), DRAWS)
SIGNIFICANCE = 1e-4
SIZE = 120
LUMA = np.array([0.2989, 0.587, 0.114])


def draw_image(bands=4, size=SIZE, seed=0):
    """Draw an image with smooth structure and some noise, float32 in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(7 * x * (i + 1)) * np.cos(5 * y + i) for i in range(bands)]
    image = 0.5 + 0.3 * np.stack(waves, axis=-1) + rng.normal(0, 0.1, (size, size, bands))
    return np.clip(image, 0, 1).astype(np.float32)


# Reference implementations in float64.


def triangle(x):
    return max(0.0, 1 - abs(x))


def keys_cubic(x, a=-0.5):
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


KERNELS = {"bilinear": triangle, "bicubic": keys_cubic}


def make_resampling_matrix(length, start, extent, size, kernel):
    """Create the antialiased weights of one axis, (size, length), of pixels inside the window."""
    step = extent / size
    matrix = np.zeros((size, length))
    for i in range(size):
        centre = start + (i + 0.5) * step
        if not 0 <= centre < length:
            continue  # outside of the image: black
        for j in range(length):
            if start < j + 0.5 < start + extent:
                matrix[i, j] = kernel((j + 0.5 - centre) / max(step, 1.0))
        if matrix[i].any():
            matrix[i] /= matrix[i].sum()
    return matrix


def resample(image, window, size, kernel):
    top, left, height, width = window
    rows = make_resampling_matrix(image.shape[0], top, height, size, kernel)
    columns = make_resampling_matrix(image.shape[1], left, width, size, kernel)
    return np.einsum("yh,hwc,xw->yxc", rows, np.asarray(image, np.float64), columns)


def unstack(draws):
    """Return the random numbers of each key as a list, in float64."""
    leaves, structure = jax.tree.flatten(draws)
    leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
    return [structure.unflatten(values) for values in zip(*leaves, strict=True)]


def apply_in_hsv(image, change):
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*p))) for p in image.reshape(-1, 3)]
    return np.reshape(pixels, image.shape)


def gaussian_blur(image, sigma, radius):
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        width = [(radius, radius) if axis == other else (0, 0) for other in range(3)]
        image = np.apply_along_axis(
            np.convolve, axis, np.pad(image, width, "reflect"), taps, mode="valid"
        )
    return image


def jitter(key, image, strengths, rgb=()):
    return on_planes(colour.Jitter.draw(key, strengths, rgb))(image)


def make_simclr_draw(views, image):
    """Make a function that draws the random numbers of a view: window, flips, jitter, chances."""

    def draw(key):
        crop_key, flip_key, jitter_key, chance_key = jax.random.split(key, 4)
        return (
            geometry.random_window(crop_key, *image.shape[:2], views.crop_scale, views.crop_ratio),
            jax.random.uniform(flip_key, (3,)),
            jax.random.uniform(jitter_key, (2, 4)),
            jax.random.uniform(chance_key, (4,)),
        )

    return draw


def make_simclr_view(draws, image, views):
    """Compute a view in NumPy: crop, flips, jitter, gray and blur, in this order."""
    window, (horizontal, vertical, _), jitter, chances = draws
    jitter_chance, gray_chance, blur_chance, sigma = chances
    x = np.clip(resample(image, window, views.size, keys_cubic), 0, 1)
    x = x[:, ::-1] if horizontal < 0.5 else x
    x = x[::-1] if vertical < 0.5 else x
    if jitter_chance < 0.8:
        x = jitter_colours(*jitter, x, list(views.rgb))
    if gray_chance < 0.2:
        gray = (x[..., list(views.rgb)] @ LUMA if views.rgb else x.mean(-1))[..., None]
        x = x.copy()
        x[..., list(views.rgb) or slice(None)] = gray
    return gaussian_blur(x, 0.1 + 1.9 * sigma, views.size // 10 // 2) if blur_chance < 0.5 else x


def jitter_colours(order, amounts, x, rgb):
    factors = 1 + 0.8 * (2 * amounts[:3] - 1)
    shift = 0.2 * (2 * amounts[3] - 1)

    def on_rgb(x, change):
        x = x.copy()
        x[..., rgb] = apply_in_hsv(x[..., rgb], change)
        return x

    operations = [
        lambda x: x * factors[0],
        lambda x: x.mean((0, 1)) + (x - x.mean((0, 1))) * factors[1],
        lambda x: on_rgb(x, lambda h, s, v: (h, min(1, s * factors[2]), v)),
        lambda x: on_rgb(x, lambda h, s, v: ((h + shift) % 1, s, v)),
    ][: 4 if rgb else 2]
    for index in np.argsort(order[: len(operations)]):
        x = np.clip(operations[index](x), 0, 1)
    return x


# Operations and whole views.


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "window", [(0, 0, 120, 120), (7, 3, 90, 112), (40, 61, 33, 35)], ids=["whole", "large", "small"]
)
def test_a_resized_crop_is_that_of_numpy_and_torch(method, window):
    image = draw_image()
    ours = on_planes(geometry.resample)(jnp.asarray(image), Window(*window), 64, method)
    top, left, height, width = window
    crop = torch.from_numpy(image[top : top + height, left : left + width]).double()
    resized = torch.nn.functional.interpolate(
        crop.permute(2, 0, 1)[None], (64, 64), mode=method, antialias=True, align_corners=False
    )
    theirs = {
        "NumPy": resample(image, window, 64, KERNELS[method]),
        "torch": resized[0].permute(1, 2, 0).numpy(),
    }
    assert_agreement(f"crop, {method}, {window}", dict.fromkeys(theirs, ours), theirs, 1e-6)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_a_resampled_fractional_window_is_that_of_numpy_and_pillow(method):
    """Compare in float64, and in float32, in which positions have a precision of 2^-17 pixels.

    The border is excluded from the comparison with Pillow, which uses pixels outside of the window.
    """
    (top, left, side), size = (11.3, 20.6, 75.2), 64
    window, box = Window(top, left, side, side), (left, top, left + side, top + side)
    image = draw_image(1)
    theirs = resample(image, window, size, KERNELS[method])
    with jax.enable_x64(True):
        ours = on_planes(geometry.resample)(jnp.asarray(image, np.float64), window, size, method)
    assert_agreement(f"window, {method}, float64", {"NumPy": ours}, {"NumPy": theirs}, 1e-12)
    ours = on_planes(geometry.resample)(jnp.asarray(image), window, size, method)
    pillow_image = Image.fromarray(image[..., 0])
    pillow = np.asarray(
        pillow_image.resize((size, size), getattr(Image.Resampling, method.upper()), box)
    )
    inner = slice(3, -3)
    assert_agreement(
        f"window, {method}, float32",
        {"NumPy": ours, "Pillow": ours[inner, inner, 0]},
        {"NumPy": theirs, "Pillow": pillow[inner, inner]},
        1e-5,
    )


def test_a_resampled_mask_is_that_of_pillow():
    mask = np.random.default_rng(0).integers(0, 6, (SIZE, SIZE)).astype(np.uint8)
    for top, left, side in [(11.3, 20.6, 75.2), (0, 0, 120), (50.1, 3.9, 40.7)]:
        box = (left, top, left + side, top + side)
        theirs = Image.fromarray(mask).resize((64, 64), Image.Resampling.NEAREST, box)
        ours = geometry.resample_mask(jnp.asarray(mask), Window(top, left, side, side), 64, 255)
        np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_flips_and_turns_are_those_of_pillow():
    image = draw_image(1)
    pillow_image, x = Image.fromarray(image[..., 0]), jnp.asarray(image)
    transpose = Image.Transpose
    for actual, operation in [
        (on_planes(geometry.horizontal_flip)(x), transpose.FLIP_LEFT_RIGHT),
        (on_planes(geometry.vertical_flip)(x), transpose.FLIP_TOP_BOTTOM),
        (on_planes(geometry.quarter_turns)(x, 1), transpose.ROTATE_90),
        (on_planes(geometry.quarter_turns)(x, 2), transpose.ROTATE_180),
        (on_planes(geometry.quarter_turns)(x, 3), transpose.ROTATE_270),
    ]:
        np.testing.assert_array_equal(actual[..., 0], np.asarray(pillow_image.transpose(operation)))


def test_colours_are_those_of_colorsys_and_pillow_in_the_whole_rgb_cube():
    levels = np.linspace(0, 1, 18, dtype=np.float32)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    x = jnp.asarray(cube)
    for shift in (-0.2, 0.07, 0.5):
        theirs = apply_in_hsv(cube, lambda h, s, v, d=shift: ((h + d) % 1, s, v))
        assert_agreement(
            f"hue {shift}", {"view": on_planes(colour.hue)(x, shift)}, {"view": theirs}, 2e-6
        )
    for factor in (0.2, 1.8):
        theirs = apply_in_hsv(cube, lambda h, s, v, f=factor: (h, min(1, s * f), v))
        ours = on_planes(colour.saturation)(x, factor)
        assert_agreement(f"saturation {factor}", {"view": ours}, {"view": theirs}, 2e-6)
    eight_bits = np.round(cube * 255).astype(np.uint8)
    luma = np.asarray(Image.fromarray(eight_bits).convert("L"), int)
    ours = (
        np.asarray(on_planes(colour.gray)(jnp.asarray(eight_bits / 255), (0, 1, 2)))[..., 0] * 255
    )
    # Of 255: Pillow rounds, and has a weight of 0.299 instead of 0.2989.
    assert np.abs(ours - luma).max() < 0.55


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
def test_blur_is_a_convolution_in_torch(sigma):
    image, radius = draw_image(), blur.blur_radius(SIZE)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).double() / sigma) ** 2)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    bands_first = torch.from_numpy(image).double().permute(2, 0, 1)[:, None]
    padded = torch.nn.functional.pad(bands_first, [radius] * 4, mode="reflect")
    theirs = torch.nn.functional.conv2d(padded, kernel[None, None])[:, 0].permute(1, 2, 0)
    ours = on_planes(blur.gaussian_blur)(jnp.asarray(image), sigma, radius)
    assert_agreement(f"blur {sigma}", {"view": ours}, {"view": theirs.numpy()}, 2e-6)


def test_normalisation_is_its_formula_for_every_digital_number():
    numbers = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    normalise = Normalisation((1e-4,), (-0.1,), (1700.0,), (950.0,))
    unit = np.clip(numbers * 1e-4 - 0.1, 0, 1)
    theirs = (unit - (1700.0 * 1e-4 - 0.1)) / (950.0 * 1e-4)
    assert_agreement(
        "normalisation",
        {"unit": normalise.unit(jnp.asarray(numbers)), "standardised": normalise(numbers)},
        {"unit": unit, "standardised": theirs},
        1e-6,
    )


@pytest.mark.parametrize(
    ("bands", "rgb"), [(3, (0, 1, 2)), (4, ()), (4, (2, 1, 0))], ids=["RGB", "RGBN", "BGR + NIR"]
)
def test_a_view_of_simclr_applies_its_operations_in_order(bands, rgb):
    views, image, keys = Augmentation.simclr(48, rgb), draw_image(bands, 64), KEYS[:24]
    ours = np.asarray(jax.jit(jax.vmap(views, (0, None)))(keys, image))
    draws = unstack(jax.jit(jax.vmap(make_simclr_draw(views, image)))(keys))
    theirs = np.stack([make_simclr_view(values, image, views) for values in draws])
    assert_agreement(
        f"view of SimCLR, {bands} bands, {rgb=}", {"view": ours}, {"view": theirs}, 1e-5
    )


def test_a_scaled_window_for_segmentation_is_that_of_numpy():
    size, views = 64, SegmentationAugmentation(size=64, scale=(0.5, 2.0))
    image, label = draw_image(4, 64), np.random.default_rng(0).integers(0, 6, (64, 64))
    label = label.astype(np.uint8)
    ours, masks = jax.jit(jax.vmap(views, (0, None, None)))(KEYS[:24], image, label)
    draw = jax.vmap(
        lambda key: geometry.random_scaled_window(
            jax.random.split(key, 3)[0], 64, 64, size, (0.5, 2.0)
        )
    )
    theirs, outside = [], []
    for window in unstack(jax.jit(draw)(KEYS[:24])):
        theirs.append(resample(image, window, size, triangle))
        top, left, side, _ = window
        rows, columns = (x + (np.arange(size) + 0.5) * side / size for x in (top, left))
        rows_outside, columns_outside = (((x < 0) | (x >= 64)) for x in (rows, columns))
        outside.append(rows_outside[:, None] | columns_outside[None, :])
    assert_agreement("scaled window", {"view": ours}, {"view": np.stack(theirs)}, 1e-5)
    np.testing.assert_array_equal(masks == 255, np.stack(outside))
    assert 0.05 < np.mean(outside) < 0.95


# Distributions of the random numbers.


def check_uniform(name, draws, low, high, rounding=1e-4):
    """Check a uniform distribution by the Kolmogorov–Smirnov test, and its range."""
    draws = np.asarray(draws, np.float64)
    test = stats.kstest(draws, stats.uniform(low, high - low).cdf)
    print(f"\n{name}: p {test.pvalue:.2g}, {draws.min():.4g} to {draws.max():.4g}")
    assert test.pvalue > SIGNIFICANCE, name
    assert low - rounding <= draws.min()
    assert draws.max() <= high + rounding


def check_probability(name, hits, probability):
    """Check the frequency of hits by a binomial test."""
    hits = np.asarray(hits)
    test = stats.binomtest(int(hits.sum()), hits.size, probability)
    print(f"\n{name}: {hits.mean():.4f} for {probability}, p {test.pvalue:.2g}")
    assert test.pvalue > SIGNIFICANCE, name


def check_counts(name, counts, weights):
    """Check that counts are proportional to the weights, by a chi-squared test."""
    counts = np.asarray(counts)
    test = stats.chisquare(counts, np.asarray(weights) / np.sum(weights) * counts.sum())
    print(f"\n{name}: {len(counts)} categories, p {test.pvalue:.2g}")
    assert test.pvalue > SIGNIFICANCE, name


def draw_torchvision_windows(height, width, scale, ratio, seed=1):
    """Reimplement `RandomResizedCrop.get_params` with NumPy's generator."""
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            aspect = np.exp(rng.uniform(*np.log(ratio)))
            w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                yield rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
                break
        else:
            pytest.fail(
                "ten windows in a row don't fit a square, which has a probability below 1e-4"
            )


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.2, 1.0)], ids=["SimCLR", "MAE"])
def test_crops_have_the_distribution_of_torchvisions(scale):
    ratio = (3 / 4, 4 / 3)
    draw = jax.jit(jax.vmap(lambda key: geometry.random_window(key, SIZE, SIZE, scale, ratio)))
    ours = np.stack([np.asarray(x) for x in draw(KEYS)], axis=1)
    theirs = np.array(list(draw_torchvision_windows(SIZE, SIZE, scale, ratio)))
    for name, compute in {
        "area": lambda w: w[:, 2] * w[:, 3],
        "aspect": lambda w: w[:, 3] / w[:, 2],
        "top": lambda w: w[:, 0],
        "left": lambda w: w[:, 1],
        "position, small crops": lambda w: w[w[:, 2] * w[:, 3] < 0.4 * SIZE**2, 0],
    }.items():
        test = stats.ks_2samp(compute(ours), compute(theirs))
        print(f"\n{name} of crops from {scale}: p {test.pvalue:.2g}")
        assert test.pvalue > SIGNIFICANCE, name


def test_areas_and_log_aspects_are_uniform_if_every_window_fits():
    draw = jax.vmap(lambda key: geometry.random_window(key, 4000, 4000, (0.1, 0.5), (3 / 4, 4 / 3)))
    window = jax.jit(draw)(KEYS)
    check_uniform("area", window.height * window.width / 4000**2, 0.1, 0.5)
    log = np.log(np.asarray(window.width / window.height)) / np.log(4 / 3)
    check_uniform("log of the aspect", log, -1, 1, rounding=4e-3)  # sides are whole pixels
    check_uniform("top", window.top / (4000 - window.height), 0, 1)
    check_uniform("left", window.left / (4000 - window.width), 0, 1)


def test_all_positions_of_a_crop_have_equal_probability():
    """A crop of 19 of 20 pixels has two possible positions along each axis."""
    draw = jax.vmap(lambda key: geometry.random_window(key, 20, 20, (0.9, 0.9), (1.0, 1.0)))
    window = jax.jit(draw)(KEYS)
    assert (np.asarray(window.height) == 19).all()
    positions = np.asarray(2 * window.top + window.left, int)
    check_counts("positions", np.bincount(positions, minlength=4), np.ones(4))


def test_scaled_windows_have_uniform_factors_and_positions():
    draw = jax.vmap(lambda key: geometry.random_scaled_window(key, 600, 700, 300, (0.5, 2.0)))
    window = jax.jit(draw)(KEYS)
    check_uniform("factor", 300 / window.width, 0.5, 2.0)
    margin = 600 - np.asarray(window.height)
    is_movable = np.abs(margin) > 1
    check_uniform(
        "position", (np.asarray(window.top) / np.where(is_movable, margin, 1))[is_movable], 0, 1
    )


def test_flips_and_orientations_have_equal_probabilities():
    image = jnp.arange(4.0).reshape(2, 2, 1) / 4
    no_crop = {"size": 0, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
    views = dataclasses.replace(Augmentation.mae(2, vertical_flip=True), **no_crop)
    sample = np.asarray(jax.jit(jax.vmap(views, (0, None)))(KEYS, image))[..., 0]
    horizontal = sample[:, 0, 0] % 0.5 != 0
    vertical = sample[:, 0, 0] >= 0.5
    check_probability("horizontal flip", horizontal, 0.5)
    check_probability("vertical flip", vertical, 0.5)
    check_probability("both", horizontal & vertical, 0.25)
    without_vertical = dataclasses.replace(Augmentation.mae(2), **no_crop)
    sample = np.asarray(jax.jit(jax.vmap(without_vertical, (0, None)))(KEYS, image))[..., 0]
    assert (sample[:, 0, 0] < 0.5).all()
    mask = jnp.arange(4, dtype=jnp.uint8).reshape(2, 2)
    aerial = SegmentationAugmentation.aerial(2, scale=(1.0, 1.0))
    _, masks = jax.jit(jax.vmap(aerial, (0, None, None)))(KEYS, image, mask)
    orientations, counts = np.unique(np.reshape(masks, (-1, 4)), axis=0, return_counts=True)
    assert len(orientations) == 8
    check_counts("orientations", counts, np.ones(8))


def test_jitter_is_uniform_in_its_ranges():
    rgb, one_hot = (0, 1, 2), np.eye(4)
    strengths = (0.8, 0.8, 0.8, 0.2)
    # With little brightness, contrast and saturation, values are never clipped.
    image = np.array([[[0.5, 0.49, 0.48]], [[0.5, 0.49, 0.47]]], np.float32)

    def jitter_images(operation):
        only = tuple(float(x) for x in np.asarray(strengths) * one_hot[operation])
        return np.asarray(
            jax.jit(jax.vmap(lambda k: jitter(k, jnp.asarray(image), only, rgb)))(KEYS),
            np.float64,
        )

    check_uniform("brightness", jitter_images(0)[:, 0, 0, 0] / 0.5, 0.2, 1.8)
    contrast = jitter_images(1)
    check_uniform("contrast", np.ptp(contrast[..., 2], axis=1)[:, 0] / 0.01, 0.2, 1.8)
    check_uniform("saturation", np.ptp(jitter_images(2)[:, 0, 0], axis=-1) / 0.02, 0.2, 1.8)
    hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in jitter_images(3)[:, 0, 0]]
    shifts = (np.array(hues) - colorsys.rgb_to_hsv(0.5, 0.49, 0.48)[0] + 0.5) % 1 - 0.5
    check_uniform("hue", shifts, -0.2, 0.2)


@pytest.mark.parametrize("rgb", [(0, 1, 2), ()], ids=["RGB", "any bands"])
def test_all_orders_of_the_jitter_are_equally_likely(monkeypatch, rgb):
    """Each operation prepends its number as a digit in base 4, so that the result is the order."""

    def make_digit(number):
        return lambda x, amount, rgb=(): x / 4 + number / 4

    for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        monkeypatch.setattr(colour, name, make_digit(number))
    image = jnp.zeros((1, 1, 3))
    codes = jax.vmap(lambda key: jitter(key, image, (0.8, 0.8, 0.8, 0.2), rgb))(KEYS)
    operations = 4 if rgb else 2
    codes = np.round(np.asarray(codes)[:, 0, 0, 0] * 4**operations).astype(int)
    digits = [tuple(code // 4**i % 4 for i in range(operations)) for code in range(4**operations)]
    orders = {i: d for i, d in enumerate(digits) if sorted(d) == list(range(operations))}
    unique_codes, counts = np.unique(codes, return_counts=True)
    assert {orders[code] for code in unique_codes} == set(itertools.permutations(range(operations)))
    check_counts(f"orders of {operations}", counts, np.ones(len(counts)))


def test_jitter_gray_and_blur_have_their_probabilities_and_are_independent(monkeypatch):
    """Each adds a power of two to the only pixel, so that all eight combinations can be counted."""

    def draw_jitter(key, strengths, rgb, is_jittered, is_gray):
        return lambda x: x + is_jittered + 2 * is_gray

    monkeypatch.setattr(colour.Jitter, "draw", draw_jitter)
    monkeypatch.setattr(blur, "gaussian_blur", lambda x, sigma, radius: x + 4)
    assert augmentation.colour is colour
    views = Augmentation.simclr(1)
    codes = np.asarray(jax.vmap(views, (0, None))(KEYS, jnp.zeros((1, 1, 4))))[:, 0, 0, 0]
    codes = np.round(codes).astype(int)
    for name, bit, probability in (("jitter", 0, 0.8), ("gray", 1, 0.2), ("blur", 2, 0.5)):
        check_probability(name, codes >> bit & 1, probability)
    weights = [
        np.prod([p if code >> bit & 1 else 1 - p for bit, p in enumerate((0.8, 0.2, 0.5))])
        for code in range(8)
    ]
    check_counts("jitter × gray × blur", np.bincount(codes, minlength=8), weights)


def test_the_sigma_of_the_blur_is_uniform_in_its_range(monkeypatch):
    monkeypatch.setattr(blur, "gaussian_blur", lambda x, sigma, radius: jnp.full_like(x, sigma))
    no_colours = dict.fromkeys(
        ("brightness", "contrast", "saturation", "hue", "gray_probability"), 0
    )
    views = dataclasses.replace(Augmentation.simclr(1), **no_colours, blur_probability=1.0)
    sigmas = np.asarray(jax.vmap(views, (0, None))(KEYS, jnp.zeros((1, 1, 4))))[:, 0, 0, 0]
    check_uniform("sigma", sigmas, 0.1, 2.0)


# Devices.

IMAGES = np.stack([draw_image(4, 40, seed) for seed in range(16)])
INDEX = np.random.default_rng(0).permutation(1000)[:16].astype(np.int32)


def make_views(devices, views, index, *examples):
    """Make the views of a batch as objectives do, with keys from the examples' indices."""

    def make_local_views(index, *examples):
        return jax.vmap(views)(make_example_keys(jax.random.key(5), index), *examples)

    mesh = make_data_mesh(jax.devices()[:devices])
    inputs = (P("data"),) * (1 + len(examples))
    return jax.tree.map(
        np.asarray, pmap_over_mesh(make_local_views, mesh, inputs, P("data"))(index, *examples)
    )


ROWS = np.tile(np.arange(40, dtype=np.uint8)[:, None], (16, 1, 40))
CASES = {
    "SimCLR": (Augmentation.simclr(32, rgb=(0, 1, 2)), (IMAGES,)),
    "MAE": (Augmentation.mae(32), (IMAGES,)),
    "segmentation": (SegmentationAugmentation.aerial(32), (IMAGES, ROWS)),
}


@pytest.mark.parametrize("case", CASES)
def test_views_are_the_same_on_any_number_of_devices(case):
    """Masks are equal, and images agree up to rounding.

    When XLA computes the weights of the resampling, vectorisation and fusion of operations depend
    on the number of examples per device. Hues multiply the rounding errors by up to 6 / chroma.
    """
    views, examples = CASES[case]
    reference = make_views(1, views, INDEX, *examples)
    for devices in (2, 8):
        actual = make_views(devices, views, INDEX, *examples)
        if case == "segmentation":
            np.testing.assert_array_equal(actual[1], reference[1])
            actual, expected = actual[0], reference[0]
        else:
            expected = reference
        assert_agreement(f"{case}, {devices} devices", {"view": actual}, {"view": expected}, 5e-6)


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: geometry.random_window(key, 120, 120, (0.08, 1.0), (3 / 4, 4 / 3)),
        lambda key: geometry.random_scaled_window(key, 600, 600, 600, (0.5, 2.0)),
        lambda key: Augmentation(horizontal_flip=True, quarter_turns=True)(key, IMAGES[0]),
        lambda key: colour.Jitter.draw(key, (0.8, 0.0, 0.0, 0.0)).operations[0](
            jnp.ones((1, 1, 1))
        ),
    ],
    ids=["crop", "scaled window", "flips", "brightness"],
)
def test_random_numbers_are_equal_on_any_number_of_devices(draw):
    expected = make_views(1, draw, INDEX)
    for devices in (2, 8):
        jax.tree.map(np.testing.assert_array_equal, expected, make_views(devices, draw, INDEX))


def test_a_view_depends_on_the_examples_index_not_on_its_position_in_the_batch():
    views = Augmentation.simclr(32)
    order = np.random.default_rng(1).permutation(16)
    original = make_views(8, views, INDEX, IMAGES)
    permuted = make_views(8, views, INDEX[order], IMAGES[order])
    np.testing.assert_array_equal(permuted, original[order])
    others = make_views(8, views, INDEX + 1, IMAGES)
    assert (np.abs(others - original).max(axis=(1, 2, 3)) > 0.01).all()
