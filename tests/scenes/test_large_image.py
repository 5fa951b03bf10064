import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.scenes.large_image import read_reflected, reflect


class Pixels:
    """An image whose pixels are all different; it refuses to be read outside."""

    def __init__(self, height, width):
        self.height, self.width = height, width
        self.image = np.arange(height * width).reshape(height, width, 1)

    def read(self, top, left, height, width):
        assert 0 <= top < top + height <= self.height
        assert 0 <= left < left + width <= self.width
        part = self.image[top : top + height, left : left + width]
        return {"image": part, "mask": part[..., 0] % 7}


@given(st.integers(1, 50), st.integers(0, 120), st.integers(0, 120))
def test_an_axis_is_continued_like_numpy_does(size, before, after):
    expected = np.pad(np.arange(size), (before, after), mode="reflect")
    np.testing.assert_array_equal(reflect(-before, size + after, size), expected)


@given(*(st.tuples(st.integers(1, 20), st.integers(-30, 30), st.integers(1, 60)) for _ in range(2)))
def test_any_rectangle_of_the_continued_image_is_read(rows, columns):
    (height, top, count), (width, left, length) = rows, columns
    image = Pixels(height, width)
    padded = np.pad(image.image, ((30, 90), (30, 90), (0, 0)), mode="reflect")
    arrays = read_reflected(image, top, left, count, length)
    expected = padded[30 + top : 30 + top + count, 30 + left : 30 + left + length]
    np.testing.assert_array_equal(arrays["image"], expected)
    np.testing.assert_array_equal(arrays["mask"], expected[..., 0] % 7)
