import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from slide_inference import by_mmsegmentation, slidings

from ssl_jax.scenes import make_windows


@given(st.integers(1, 120), st.integers(1, 120), slidings())
@example(100, 64, (32, 16))  # divisible
@example(101, 65, (32, 16))  # not so
@example(31, 7, (32, 16))  # smaller than the window
def test_windows_lie_where_mmsegmentation_lays_them(height, width, sliding):
    side, stride = sliding
    found = [
        ((w.top, w.top + w.height), (w.left, w.left + w.width))
        for w in make_windows(height, width, side, stride)
    ]
    rows, columns = (by_mmsegmentation(size, side, stride) for size in (height, width))
    assert found == [(row, column) for row in rows for column in columns]


@given(st.integers(1, 120), st.integers(1, 120), slidings())
def test_every_pixel_is_seen_and_nothing_beyond(height, width, sliding):
    side, stride = sliding
    seen = np.zeros((height, width), int)
    for top, left, down, across in make_windows(height, width, side, stride):
        assert (down, across) == (min(side, height), min(side, width))
        assert 0 <= top <= height - down
        assert 0 <= left <= width - across
        seen[top : top + down, left : left + across] += 1
    assert seen.min() >= 1


def test_a_tile_of_potsdam_has_361_windows():
    places = make_windows(6000, 6000, 600, 300)
    assert len(places) == len(set(places)) == 361
