"""Augmentations against their definitions in NumPy float64, Pillow, PyTorch and colorsys.

What tests/augment shows of single operations on small images is shown here of whole views at the
size of the recipes, of the distributions they are drawn from, and of their independence of devices.

Statistics are those of 20,000 fixed keys. Each test has a significance of 1e-4: with other keys one
in ten thousand correct implementations would fail it.
"""

import colorsys
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from deviation import expect_agreement
from jax.sharding import PartitionSpec as P
from PIL import Image
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
    """Smooth structure with some noise, as images are; float32 in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(7 * x * (i + 1)) * np.cos(5 * y + i) for i in range(bands)]
    image = 0.5 + 0.3 * np.stack(waves, axis=-1) + rng.normal(0, 0.1, (size, size, bands))
    return np.clip(image, 0, 1).astype(np.float32)


# Definitions, in float64.


def triangle(x):
    return max(0.0, 1 - abs(x))


def keys_cubic(x, a=-0.5):
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


KERNELS = {"bilinear": triangle, "bicubic": keys_cubic}


def resampling(length, start, extent, size, kernel):
    """Weights (size, length) of one axis: antialiased, blind to what lies outside of the window."""
    step = extent / size
    matrix = np.zeros((size, length))
    for i in range(size):
        centre = start + (i + 0.5) * step
        if not 0 <= centre < length:
            continue  # black
        for j in range(length):
            if start < j + 0.5 < start + extent:
                matrix[i, j] = kernel((j + 0.5 - centre) / max(step, 1.0))
        if matrix[i].any():
            matrix[i] /= matrix[i].sum()
    return matrix


def resampled(image, window, size, kernel):
    top, left, height, width = window
    rows = resampling(image.shape[0], top, height, size, kernel)
    columns = resampling(image.shape[1], left, width, size, kernel)
    return np.einsum("yh,hwc,xw->yxc", rows, np.asarray(image, np.float64), columns)


def in_double(draws):
    """What was drawn for each key, one after the other, in float64."""
    leaves, structure = jax.tree.flatten(draws)
    leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
    return [structure.unflatten(drawn) for drawn in zip(*leaves, strict=True)]


def through_hsv(image, change):
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


def draws_of_simclr(views, image):
    """All that a view draws from its key: the window, flips, order and amounts, chances."""

    def draw(key):
        crop, place, jitter, chance = jax.random.split(key, 4)
        return (
            geometry.random_window(crop, *image.shape[:2], views.crop_scale, views.crop_ratio),
            jax.random.uniform(place, (3,)),
            jax.random.uniform(jitter, (2, 4)),
            jax.random.uniform(chance, (4,)),
        )

    return draw


def view_of_simclr(draws, image, views):
    """A view in NumPy: crop, flips, jitter, gray, blur, in this order."""
    window, (horizontal, vertical, _), jitter, chances = draws
    jitter_chance, gray_chance, blur_chance, sigma = chances
    x = np.clip(resampled(image, window, views.size, keys_cubic), 0, 1)
    x = x[:, ::-1] if horizontal < 0.5 else x
    x = x[::-1] if vertical < 0.5 else x
    if jitter_chance < 0.8:
        x = jittered(*jitter, x, list(views.rgb))
    if gray_chance < 0.2:
        gray = (x[..., list(views.rgb)] @ LUMA if views.rgb else x.mean(-1))[..., None]
        x = x.copy()
        x[..., list(views.rgb) or slice(None)] = gray
    return gaussian_blur(x, 0.1 + 1.9 * sigma, views.size // 10 // 2) if blur_chance < 0.5 else x


def jittered(order, amounts, x, rgb):
    factors = 1 + 0.8 * (2 * amounts[:3] - 1)
    shift = 0.2 * (2 * amounts[3] - 1)

    def on_rgb(x, change):
        x = x.copy()
        x[..., rgb] = through_hsv(x[..., rgb], change)
        return x

    operations = [
        lambda x: x * factors[0],
        lambda x: x.mean((0, 1)) + (x - x.mean((0, 1))) * factors[1],
        lambda x: on_rgb(x, lambda h, s, v: (h, min(1, s * factors[2]), v)),
        lambda x: on_rgb(x, lambda h, s, v: ((h + shift) % 1, s, v)),
    ][: 4 if rgb else 2]
    for place in np.argsort(order[: len(operations)]):
        x = np.clip(operations[place](x), 0, 1)
    return x


# Operations and whole views.


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "window", [(0, 0, 120, 120), (7, 3, 90, 112), (40, 61, 33, 35)], ids=["whole", "large", "small"]
)
def test_a_crop_is_resized_as_defined_and_as_by_torch(method, window):
    image = draw_image()
    ours = geometry.resample(jnp.asarray(image), Window(*window), 64, method)
    top, left, height, width = window
    crop = torch.from_numpy(image[top : top + height, left : left + width]).double()
    resized = torch.nn.functional.interpolate(
        crop.permute(2, 0, 1)[None], (64, 64), mode=method, antialias=True, align_corners=False
    )
    theirs = {
        "NumPy": resampled(image, window, 64, KERNELS[method]),
        "torch": resized[0].permute(1, 2, 0).numpy(),
    }
    expect_agreement(f"crop, {method}, {window}", dict.fromkeys(theirs, ours), theirs, 1e-6)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_a_fractional_window_is_resampled_as_defined_and_as_by_pillow(method):
    """In float32 places are known to 2^-17 of a pixel; in float64 the agreement is complete.

    Pillow, unlike ours, also looks at what lies outside of the window: its border is left out.
    """
    (top, left, side), size = (11.3, 20.6, 75.2), 64
    window, box = Window(top, left, side, side), (left, top, left + side, top + side)
    image = draw_image(1)
    theirs = resampled(image, window, size, KERNELS[method])
    with jax.enable_x64(True):
        ours = geometry.resample(jnp.asarray(image, np.float64), window, size, method)
    expect_agreement(f"window, {method}, float64", {"NumPy": ours}, {"NumPy": theirs}, 1e-12)
    ours = geometry.resample(jnp.asarray(image), window, size, method)
    picture = Image.fromarray(image[..., 0])
    pillow = np.asarray(
        picture.resize((size, size), getattr(Image.Resampling, method.upper()), box)
    )
    inner = slice(3, -3)
    expect_agreement(
        f"window, {method}, float32",
        {"NumPy": ours, "Pillow": ours[inner, inner, 0]},
        {"NumPy": theirs, "Pillow": pillow[inner, inner]},
        1e-5,
    )


def test_a_mask_is_resampled_as_by_pillow():
    mask = np.random.default_rng(0).integers(0, 6, (SIZE, SIZE)).astype(np.uint8)
    for top, left, side in [(11.3, 20.6, 75.2), (0, 0, 120), (50.1, 3.9, 40.7)]:
        box = (left, top, left + side, top + side)
        theirs = Image.fromarray(mask).resize((64, 64), Image.Resampling.NEAREST, box)
        ours = geometry.resample_mask(jnp.asarray(mask), Window(top, left, side, side), 64, 255)
        np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_flips_and_turns_are_those_of_pillow():
    image = draw_image(1)
    picture, x = Image.fromarray(image[..., 0]), jnp.asarray(image)
    turn = Image.Transpose
    for found, operation in [
        (geometry.horizontal_flip(x), turn.FLIP_LEFT_RIGHT),
        (geometry.vertical_flip(x), turn.FLIP_TOP_BOTTOM),
        (geometry.quarter_turns(x, 1), turn.ROTATE_90),
        (geometry.quarter_turns(x, 2), turn.ROTATE_180),
        (geometry.quarter_turns(x, 3), turn.ROTATE_270),
    ]:
        np.testing.assert_array_equal(found[..., 0], np.asarray(picture.transpose(operation)))


def test_colours_are_those_of_colorsys_and_pillow_over_the_whole_cube():
    levels = np.linspace(0, 1, 18, dtype=np.float32)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(18, -1, 3)
    x = jnp.asarray(cube)
    for shift in (-0.2, 0.07, 0.5):
        theirs = through_hsv(cube, lambda h, s, v, d=shift: ((h + d) % 1, s, v))
        expect_agreement(f"hue {shift}", {"view": colour.hue(x, shift)}, {"view": theirs}, 2e-6)
    for factor in (0.2, 1.8):
        theirs = through_hsv(cube, lambda h, s, v, f=factor: (h, min(1, s * f), v))
        ours = colour.saturation(x, factor)
        expect_agreement(f"saturation {factor}", {"view": ours}, {"view": theirs}, 2e-6)
    eight_bits = np.round(cube * 255).astype(np.uint8)
    luma = np.asarray(Image.fromarray(eight_bits).convert("L"), int)
    ours = np.asarray(colour.gray(jnp.asarray(eight_bits / 255), (0, 1, 2)))[..., 0] * 255
    assert np.abs(ours - luma).max() < 0.55  # of 255: Pillow rounds, and its 0.299 is 0.2989 here


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
def test_blur_is_a_convolution_of_torch(sigma):
    image, radius = draw_image(), blur.blur_radius(SIZE)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).double() / sigma) ** 2)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    bands_first = torch.from_numpy(image).double().permute(2, 0, 1)[:, None]
    padded = torch.nn.functional.pad(bands_first, [radius] * 4, mode="reflect")
    theirs = torch.nn.functional.conv2d(padded, kernel[None, None])[:, 0].permute(1, 2, 0)
    ours = blur.gaussian_blur(jnp.asarray(image), sigma, radius)
    expect_agreement(f"blur {sigma}", {"view": ours}, {"view": theirs.numpy()}, 2e-6)


def test_normalisation_is_its_formula_for_every_digital_number():
    numbers = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    normalise = Normalisation((1e-4,), (-0.1,), (1700.0,), (950.0,))
    unit = np.clip(numbers * 1e-4 - 0.1, 0, 1)
    theirs = (unit - (1700.0 * 1e-4 - 0.1)) / (950.0 * 1e-4)
    expect_agreement(
        "normalisation",
        {"unit": normalise.unit(jnp.asarray(numbers)), "standardised": normalise(numbers)},
        {"unit": unit, "standardised": theirs},
        1e-6,
    )


@pytest.mark.parametrize(
    ("bands", "rgb"), [(3, (0, 1, 2)), (4, ()), (4, (2, 1, 0))], ids=["RGB", "RGBN", "BGR + NIR"]
)
def test_a_view_of_simclr_is_its_operations_in_order(bands, rgb):
    views, image, keys = Augmentation.simclr(48, rgb), draw_image(bands, 64), KEYS[:24]
    ours = np.asarray(jax.jit(jax.vmap(views, (0, None)))(keys, image))
    draws = in_double(jax.jit(jax.vmap(draws_of_simclr(views, image)))(keys))
    theirs = np.stack([view_of_simclr(drawn, image, views) for drawn in draws])
    expect_agreement(
        f"view of SimCLR, {bands} bands, {rgb=}", {"view": ours}, {"view": theirs}, 1e-5
    )


def test_a_window_of_segmentation_is_cut_as_defined():
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
    for window in in_double(jax.jit(draw)(KEYS[:24])):
        theirs.append(resampled(image, window, size, triangle))
        top, left, side, _ = window
        rows, columns = (x + (np.arange(size) + 0.5) * side / size for x in (top, left))
        rows_beyond, columns_beyond = (((x < 0) | (x >= 64)) for x in (rows, columns))
        outside.append(rows_beyond[:, None] | columns_beyond[None, :])
    expect_agreement("scaled window", {"view": ours}, {"view": np.stack(theirs)}, 1e-5)
    np.testing.assert_array_equal(masks == 255, np.stack(outside))
    assert 0.05 < np.mean(outside) < 0.95


# Statistics of the draws.


def expect_uniform(name, draws, low, high, rounding=1e-4):
    """Kolmogorov and Smirnov's test, and that the range is kept."""
    draws = np.asarray(draws, np.float64)
    found = stats.kstest(draws, stats.uniform(low, high - low).cdf)
    print(f"\n{name}: p {found.pvalue:.2g}, {draws.min():.4g} to {draws.max():.4g}")
    assert found.pvalue > SIGNIFICANCE, name
    assert low - rounding <= draws.min()
    assert draws.max() <= high + rounding


def expect_share(name, hits, share):
    hits = np.asarray(hits)
    found = stats.binomtest(int(hits.sum()), hits.size, share)
    print(f"\n{name}: {hits.mean():.4f} for {share}, p {found.pvalue:.2g}")
    assert found.pvalue > SIGNIFICANCE, name


def expect_counts(name, counts, shares):
    counts = np.asarray(counts)
    found = stats.chisquare(counts, np.asarray(shares) / np.sum(shares) * counts.sum())
    print(f"\n{name}: {len(counts)} kinds, p {found.pvalue:.2g}")
    assert found.pvalue > SIGNIFICANCE, name


def windows_of_torchvision(height, width, scale, ratio, seed=1):
    """`RandomResizedCrop.get_params` as it is written, with NumPy's generator."""
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
            pytest.fail("no window fits a square in ten draws: rarer than 1e-4")


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.2, 1.0)], ids=["SimCLR", "MAE"])
def test_crops_are_distributed_as_torchvisions(scale):
    ratio = (3 / 4, 4 / 3)
    draw = jax.jit(jax.vmap(lambda key: geometry.random_window(key, SIZE, SIZE, scale, ratio)))
    ours = np.stack([np.asarray(x) for x in draw(KEYS)], axis=1)
    theirs = np.array(list(windows_of_torchvision(SIZE, SIZE, scale, ratio)))
    for name, of in {
        "area": lambda w: w[:, 2] * w[:, 3],
        "aspect": lambda w: w[:, 3] / w[:, 2],
        "top": lambda w: w[:, 0],
        "left": lambda w: w[:, 1],
        "place, small crops": lambda w: w[w[:, 2] * w[:, 3] < 0.4 * SIZE**2, 0],
    }.items():
        found = stats.ks_2samp(of(ours), of(theirs))
        print(f"\n{name} of crops from {scale}: p {found.pvalue:.2g}")
        assert found.pvalue > SIGNIFICANCE, name


def test_areas_and_aspects_are_uniform_where_every_window_fits():
    draw = jax.vmap(lambda key: geometry.random_window(key, 4000, 4000, (0.1, 0.5), (3 / 4, 4 / 3)))
    window = jax.jit(draw)(KEYS)
    expect_uniform("area", window.height * window.width / 4000**2, 0.1, 0.5)
    log = np.log(np.asarray(window.width / window.height)) / np.log(4 / 3)
    expect_uniform("log of the aspect", log, -1, 1, rounding=4e-3)  # sides are whole pixels
    expect_uniform("top", window.top / (4000 - window.height), 0, 1)
    expect_uniform("left", window.left / (4000 - window.width), 0, 1)


def test_a_crop_reaches_every_place_with_equal_chances():
    """19 of 20 pixels can lie in two places along each axis."""
    draw = jax.vmap(lambda key: geometry.random_window(key, 20, 20, (0.9, 0.9), (1.0, 1.0)))
    window = jax.jit(draw)(KEYS)
    assert (np.asarray(window.height) == 19).all()
    places = np.asarray(2 * window.top + window.left, int)
    expect_counts("places", np.bincount(places, minlength=4), np.ones(4))


def test_scaled_windows_have_uniform_factors_and_places():
    draw = jax.vmap(lambda key: geometry.random_scaled_window(key, 600, 700, 300, (0.5, 2.0)))
    window = jax.jit(draw)(KEYS)
    expect_uniform("factor", 300 / window.width, 0.5, 2.0)
    room = 600 - np.asarray(window.height)
    free = np.abs(room) > 1
    expect_uniform("place", (np.asarray(window.top) / np.where(free, room, 1))[free], 0, 1)


def test_flips_and_orientations_have_equal_chances():
    image = jnp.arange(4.0).reshape(2, 2, 1) / 4
    plain = {"size": 0, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
    views = dataclasses.replace(Augmentation.mae(2, vertical_flip=True), **plain)
    drawn = np.asarray(jax.jit(jax.vmap(views, (0, None)))(KEYS, image))[..., 0]
    horizontal = drawn[:, 0, 0] % 0.5 != 0
    vertical = drawn[:, 0, 0] >= 0.5
    expect_share("horizontal flip", horizontal, 0.5)
    expect_share("vertical flip", vertical, 0.5)
    expect_share("both", horizontal & vertical, 0.25)
    without = dataclasses.replace(Augmentation.mae(2), **plain)
    drawn = np.asarray(jax.jit(jax.vmap(without, (0, None)))(KEYS, image))[..., 0]
    assert (drawn[:, 0, 0] < 0.5).all()
    mask = jnp.arange(4, dtype=jnp.uint8).reshape(2, 2)
    aerial = SegmentationAugmentation.aerial(2, scale=(1.0, 1.0))
    _, masks = jax.jit(jax.vmap(aerial, (0, None, None)))(KEYS, image, mask)
    orientations, counts = np.unique(np.reshape(masks, (-1, 4)), axis=0, return_counts=True)
    assert len(orientations) == 8
    expect_counts("orientations", counts, np.ones(8))


def test_jitter_is_uniform_in_its_ranges():
    rgb, alone = (0, 1, 2), np.eye(4)
    strengths = (0.8, 0.8, 0.8, 0.2)
    # Never clipped: dark, of little contrast and of little saturation.
    image = np.array([[[0.5, 0.49, 0.48]], [[0.5, 0.49, 0.47]]], np.float32)

    def drawn(operation):
        only = tuple(float(x) for x in np.asarray(strengths) * alone[operation])
        return np.asarray(
            jax.jit(jax.vmap(lambda k: colour.jitter(k, jnp.asarray(image), only, rgb)))(KEYS),
            np.float64,
        )

    expect_uniform("brightness", drawn(0)[:, 0, 0, 0] / 0.5, 0.2, 1.8)
    contrast = drawn(1)
    expect_uniform("contrast", np.ptp(contrast[..., 2], axis=1)[:, 0] / 0.01, 0.2, 1.8)
    expect_uniform("saturation", np.ptp(drawn(2)[:, 0, 0], axis=-1) / 0.02, 0.2, 1.8)
    hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in drawn(3)[:, 0, 0]]
    shifts = (np.array(hues) - colorsys.rgb_to_hsv(0.5, 0.49, 0.48)[0] + 0.5) % 1 - 0.5
    expect_uniform("hue", shifts, -0.2, 0.2)


@pytest.mark.parametrize("rgb", [(0, 1, 2), ()], ids=["RGB", "any bands"])
def test_all_orders_of_the_jitter_are_equally_likely(monkeypatch, rgb):
    """Each operation writes its number in base 4 before what was there: the result is the order."""
    for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        monkeypatch.setattr(colour, name, lambda x, amount, number=number: x / 4 + number / 4)
    image = jnp.zeros((1, 1, 3))
    drawn = jax.vmap(lambda key: colour.jitter(key, image, (0.8, 0.8, 0.8, 0.2), rgb))(KEYS)
    operations = 4 if rgb else 2
    codes = np.round(np.asarray(drawn)[:, 0, 0, 0] * 4**operations).astype(int)
    digits = [tuple(code // 4**i % 4 for i in range(operations)) for code in range(4**operations)]
    orders = {i: d for i, d in enumerate(digits) if sorted(d) == list(range(operations))}
    found, counts = np.unique(codes, return_counts=True)
    assert {orders[code] for code in found} == set(itertools.permutations(range(operations)))
    expect_counts(f"orders of {operations}", counts, np.ones(len(counts)))


def test_jitter_gray_and_blur_have_their_probabilities_and_are_independent(monkeypatch):
    """Each leaves its mark on the one pixel: all eight combinations are counted."""
    monkeypatch.setattr(colour, "jitter", lambda key, x, strengths, rgb: x + 1)
    monkeypatch.setattr(colour, "gray", lambda x, rgb: x + 2)
    monkeypatch.setattr(blur, "gaussian_blur", lambda x, sigma, radius: x + 4)
    assert augmentation.colour is colour
    views = Augmentation.simclr(1)
    marks = np.asarray(jax.vmap(views, (0, None))(KEYS, jnp.zeros((1, 1, 4))))[:, 0, 0, 0]
    marks = np.round(marks).astype(int)
    for name, bit, share in (("jitter", 0, 0.8), ("gray", 1, 0.2), ("blur", 2, 0.5)):
        expect_share(name, marks >> bit & 1, share)
    shares = [
        np.prod([p if mark >> bit & 1 else 1 - p for bit, p in enumerate((0.8, 0.2, 0.5))])
        for mark in range(8)
    ]
    expect_counts("jitter × gray × blur", np.bincount(marks, minlength=8), shares)


def test_the_blur_is_uniform_in_its_range(monkeypatch):
    monkeypatch.setattr(blur, "gaussian_blur", lambda x, sigma, radius: jnp.full_like(x, sigma))
    without = dict.fromkeys(("brightness", "contrast", "saturation", "hue", "gray_probability"), 0)
    views = dataclasses.replace(Augmentation.simclr(1), **without, blur_probability=1.0)
    drawn = np.asarray(jax.vmap(views, (0, None))(KEYS, jnp.zeros((1, 1, 4))))[:, 0, 0, 0]
    expect_uniform("sigma", drawn, 0.1, 2.0)


# Devices.

IMAGES = np.stack([draw_image(4, 40, seed) for seed in range(16)])
INDEX = np.random.default_rng(0).permutation(1000)[:16].astype(np.int32)


def views_on(devices, views, index, *examples):
    """The views of a batch, as objectives draw them, and from each example's index alone."""

    def draw(index, *examples):
        return jax.vmap(views)(make_example_keys(jax.random.key(5), index), *examples)

    mesh = make_data_mesh(jax.devices()[:devices])
    inputs = (P("data"),) * (1 + len(examples))
    return jax.tree.map(np.asarray, pmap_over_mesh(draw, mesh, inputs, P("data"))(index, *examples))


ROWS = np.tile(np.arange(40, dtype=np.uint8)[:, None], (16, 1, 40))
CASES = {
    "SimCLR": (Augmentation.simclr(32, rgb=(0, 1, 2)), (IMAGES,)),
    "MAE": (Augmentation.mae(32), (IMAGES,)),
    "segmentation": (SegmentationAugmentation.aerial(32), (IMAGES, ROWS)),
}


@pytest.mark.parametrize("case", CASES)
def test_views_are_the_same_on_any_number_of_devices(case):
    """Masks to the bit, and images but for roundings: with another number of examples a device
    XLA vectorises another way, and fuses other products and sums, when it computes the weights of
    the resampling; hues then multiply that by up to 6 / chroma.
    """
    views, examples = CASES[case]
    one = views_on(1, views, INDEX, *examples)
    for devices in (2, 8):
        many = views_on(devices, views, INDEX, *examples)
        if case == "segmentation":
            np.testing.assert_array_equal(many[1], one[1])
            many, expected = many[0], one[0]
        else:
            expected = one
        expect_agreement(f"{case}, {devices} devices", {"view": many}, {"view": expected}, 5e-6)


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: geometry.random_window(key, 120, 120, (0.08, 1.0), (3 / 4, 4 / 3)),
        lambda key: geometry.random_scaled_window(key, 600, 600, 600, (0.5, 2.0)),
        lambda key: Augmentation(horizontal_flip=True, quarter_turns=True)(key, IMAGES[0]),
        lambda key: colour.jitter(key, jnp.full((1, 1, 3), 0.5), (0.8, 0.0, 0.0, 0.0)),
    ],
    ids=["crop", "scaled window", "flips", "brightness"],
)
def test_what_is_drawn_is_the_same_to_the_bit_on_any_number_of_devices(draw):
    one = views_on(1, draw, INDEX)
    for devices in (2, 8):
        jax.tree.map(np.testing.assert_array_equal, one, views_on(devices, draw, INDEX))


def test_a_view_goes_with_its_index_wherever_it_stands_in_the_batch():
    views = Augmentation.simclr(32)
    order = np.random.default_rng(1).permutation(16)
    there = views_on(8, views, INDEX, IMAGES)
    here = views_on(8, views, INDEX[order], IMAGES[order])
    np.testing.assert_array_equal(here, there[order])
    others = views_on(8, views, INDEX + 1, IMAGES)
    assert (np.abs(others - there).max(axis=(1, 2, 3)) > 0.01).all()
