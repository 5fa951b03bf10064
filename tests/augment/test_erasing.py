import math

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.augment.erasing import Erasing

KEYS = jax.random.split(jax.random.key(0), 4000)


def erase(erasing, height=40, width=32, bands=4):
    """Erase constant images; return them and what was erased, (keys, H, W) bool."""
    image = jnp.full((height, width, bands), 99.0)
    images = np.asarray(jax.jit(jax.vmap(erasing, (0, None)))(KEYS, image))
    return images, (images != 99.0).any(axis=-1)


def test_a_rectangle_of_the_given_area_and_ratio_is_replaced_by_noise():
    images, erased = erase(Erasing(1.0))
    assert erased.any(axis=(1, 2)).all()
    rows, columns = erased.any(axis=2), erased.any(axis=1)
    heights, widths = rows.sum(axis=1), columns.sum(axis=1)
    np.testing.assert_array_equal(erased.sum(axis=(1, 2)), heights * widths)
    for line in (rows, columns):  # contiguous
        assert (np.abs(np.diff(line.astype(int), axis=1)).sum(axis=1) <= 2).all()
    areas = heights * widths / (40 * 32)
    assert 0.015 < areas.min() < 0.03
    assert 0.30 < areas.max() < 0.35
    assert abs(areas.mean() - (0.02 + 1 / 3) / 2) < 0.01
    ratios = np.log(heights / widths)
    assert abs(ratios.mean()) < 0.1  # slightly biased: rectangles as wide as the image are rejected
    assert ratios.max() < math.log(1 / 0.3) + 0.3
    noise = images[images != 99.0]
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert len(np.unique(noise)) > 0.5 * len(noise)


def test_rectangles_are_uniformly_distributed_over_the_image():
    small = Erasing(1.0, area=(0.02, 0.02), ratio=(1.0, 1.0))  # 5 × 5 pixels
    erased = erase(small)[1]
    tops, lefts = erased.any(axis=2).argmax(axis=1), erased.any(axis=1).argmax(axis=1)
    for starts, num_positions in ((tops, 36), (lefts, 28)):
        counts = np.bincount(starts, minlength=num_positions)
        assert len(counts) == num_positions
        expected = len(KEYS) / num_positions
        assert (np.abs(counts - expected) < 5 * math.sqrt(expected)).all()


def test_images_are_erased_with_the_given_probability():
    erased = erase(Erasing(0.25))[1].any(axis=(1, 2))
    assert abs(erased.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(KEYS))
    assert not erase(Erasing())[1].any()


def test_rectangles_larger_than_the_image_are_not_erased():
    wide = Erasing(1.0, area=(0.3, 0.3), ratio=(0.01, 0.01))  # wider than any image
    assert not erase(wide)[1].any()
