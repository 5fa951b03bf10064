import numpy as np
import pytest
from augment.planes import on_planes

from ssl_jax.augment import blur


@pytest.mark.parametrize(("sigma", "radius"), [(0.1, 2), (0.7, 3), (2.0, 6)])
def test_blur_is_a_convolution_with_a_gaussian_and_reflection(sigma, radius):
    image = np.random.default_rng(0).random((14, 17, 4)).astype(np.float32)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    expected = np.pad(
        image.astype(np.float64), [(radius, radius), (radius, radius), (0, 0)], "reflect"
    )
    for axis in (0, 1):
        expected = np.apply_along_axis(np.convolve, axis, expected, kernel, mode="valid")
    blurred = on_planes(blur.gaussian_blur)(image, sigma, radius)
    np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_the_kernel_spans_a_tenth_of_the_image():
    assert 2 * blur.blur_radius(224) + 1 == 23
    assert 2 * blur.blur_radius(120) + 1 == 13
