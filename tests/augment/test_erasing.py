import math

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.augment.erasing import Erasing

KEYS = jax.random.split(jax.random.key(0), 4000)


def draw(erasing, height=40, width=32, bands=4):
    """Images of one value no noise has, and the rectangles (keys, H, W) that were erased."""
    image = jnp.full((height, width, bands), 99.0)
    images = np.asarray(jax.jit(jax.vmap(erasing, (0, None)))(KEYS, image))
    return images, (images != 99.0).any(axis=-1)


def test_a_rectangle_of_the_asked_area_and_ratio_gives_way_to_noise():
    images, erased = draw(Erasing(1.0))
    assert erased.any(axis=(1, 2)).all()
    rows, columns = erased.any(axis=2), erased.any(axis=1)
    heights, widths = rows.sum(axis=1), columns.sum(axis=1)
    np.testing.assert_array_equal(erased.sum(axis=(1, 2)), heights * widths)
    for line in (rows, columns):  # in one piece
        assert (np.abs(np.diff(line.astype(int), axis=1)).sum(axis=1) <= 2).all()
    shares = heights * widths / (40 * 32)
    assert 0.015 < shares.min() < 0.03
    assert 0.30 < shares.max() < 0.35
    assert abs(shares.mean() - (0.02 + 1 / 3) / 2) < 0.01
    ratios = np.log(heights / widths)
    assert abs(ratios.mean()) < 0.1  # a little off: rectangles as wide as the image are refused
    assert ratios.max() < math.log(1 / 0.3) + 0.3
    noise = images[images != 99.0]
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert len(np.unique(noise)) > 0.5 * len(noise)


def test_rectangles_lie_evenly_over_the_image():
    small = Erasing(1.0, area=(0.02, 0.02), ratio=(1.0, 1.0))  # 5 × 5 pixels
    erased = draw(small)[1]
    tops, lefts = erased.any(axis=2).argmax(axis=1), erased.any(axis=1).argmax(axis=1)
    for starts, places in ((tops, 36), (lefts, 28)):
        counts = np.bincount(starts, minlength=places)
        assert len(counts) == places
        expected = len(KEYS) / places
        assert (np.abs(counts - expected) < 5 * math.sqrt(expected)).all()


def test_a_share_of_the_images_is_erased():
    erased = draw(Erasing(0.25))[1].any(axis=(1, 2))
    assert abs(erased.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(KEYS))
    assert not draw(Erasing())[1].any()


def test_what_does_not_fit_is_not_erased():
    wide = Erasing(1.0, area=(0.3, 0.3), ratio=(0.01, 0.01))  # wider than any image
    assert not draw(wide)[1].any()
