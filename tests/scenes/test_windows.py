import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from slide_inference import compute_mmsegmentation_windows, window_sizes_and_strides

from ssl_jax.scenes import make_windows


@given(st.integers(1, 120), st.integers(1, 120), window_sizes_and_strides())
@example(100, 64, (32, 16))  # divisible
@example(101, 65, (32, 16))  # not divisible
@example(31, 7, (32, 16))  # smaller than the window
def test_windows_have_the_positions_of_mmsegmentation(height, width, sliding):
    side, stride = sliding
    positions = [
        ((w.top, w.top + w.height), (w.left, w.left + w.width))
        for w in make_windows(height, width, side, stride)
    ]
    rows, columns = (compute_mmsegmentation_windows(size, side, stride) for size in (height, width))
    assert positions == [(row, column) for row in rows for column in columns]


@given(st.integers(1, 120), st.integers(1, 120), window_sizes_and_strides())
def test_windows_cover_every_pixel_and_stay_inside_the_image(height, width, sliding):
    side, stride = sliding
    count = np.zeros((height, width), int)
    for top, left, window_height, window_width in make_windows(height, width, side, stride):
        assert (window_height, window_width) == (min(side, height), min(side, width))
        assert 0 <= top <= height - window_height
        assert 0 <= left <= width - window_width
        count[top : top + window_height, left : left + window_width] += 1
    assert count.min() >= 1


def test_an_image_of_potsdam_has_361_windows():
    windows = make_windows(6000, 6000, 600, 300)
    assert len(windows) == len(set(windows)) == 361
