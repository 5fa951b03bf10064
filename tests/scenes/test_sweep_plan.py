"""The laws of plans, for images and windows of any size."""

import dataclasses
from unittest import mock

import numpy as np
import pytest
from blended_logits import find_starts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssl_jax.scenes import SlidingWindow, SweepPlan, compute_weights, deal, sweep_plan

WINDOW = 16
SIZES = (1, 31, 700, WINDOW - 1, WINDOW, WINDOW + 1, 97, 211)


@st.composite
def plans(draw):
    """Draw plans of small images, with limits that cut them into several lanes and blocks."""
    window = draw(st.integers(1, 40))
    stride = draw(st.integers(1, window))
    sizes = st.one_of(st.sampled_from(SIZES), st.integers(1, 300))
    limits = {
        "_MAX_SUMS": draw(st.sampled_from([2**10, 2**14, 2**26])),
        "_MAX_LANE": draw(st.sampled_from([64, 2**14])),
        "_MAX_GROUP_PIXELS": draw(st.sampled_from([2**10, 2**20])),
        "_MAX_FINISHED": draw(st.integers(1, 2**16)),
    }
    with mock.patch.multiple(sweep_plan, **limits):
        made = SweepPlan(draw(sizes), draw(sizes), window, stride, draw(st.integers(1, 20)))
        assert made.blocks
        assert made.group_size
        assert made.finish_rows
        return made


def usual(height, width, window, stride, outputs=5):
    return SweepPlan(height, width, window, stride, outputs)


@settings(max_examples=50)
@given(plans())
@example(usual(1, 1, 32, 16))
@example(usual(31, 700, 120, 60))
@example(usual(997, 1009, 32, 7))
def test_every_pixel_is_in_exactly_one_block(made):
    count = np.zeros((made.height, made.width), int)
    for block in made.blocks:
        rows, columns = block.inside
        assert (rows.stop - rows.start, columns.stop - columns.start) == (block.height, block.width)
        assert min(block.height, block.width) > 0
        assert rows.start >= 0
        assert rows.stop <= made.block_shape[0]
        assert columns.start >= 0
        assert columns.stop <= made.block_shape[1]
        count[block.top :, block.left :][: block.height, : block.width] += 1
    assert (count == 1).all()
    assert [block.index for block in made.blocks] == list(range(len(made.blocks)))


@settings(max_examples=50)
@given(plans())
def test_windows_go_on_until_the_image_is_covered_with_the_margin(made):
    for size, count in ((made.height, made.num_rows), (made.width, made.num_columns)):
        starts = find_starts(size, made.window, made.stride)
        assert [made.start(index) for index in range(count)] == starts
        assert starts[0] == -((made.window - made.stride) // 2)


@settings(max_examples=50)
@given(plans())
def test_a_pixel_is_at_most_half_a_stride_from_the_middle_of_a_window(made):
    starts = np.array([made.start(index) for index in range(made.num_rows)])
    middles = starts + (made.window - 1) / 2
    distance = np.abs(np.arange(made.height)[:, None] - middles).min(axis=1)
    assert distance.max() <= (made.stride + 1) / 2


@settings(max_examples=50)
@given(plans())
def test_the_weights_of_a_pixels_windows_never_add_up_to_zero(made):
    weights = compute_weights(made.window)
    assert weights.dtype == np.float32
    assert weights.min() ** 2 > 0
    np.testing.assert_array_equal(weights, weights[::-1])
    total = np.zeros(made.height + 2 * made.window)
    for row in range(made.num_rows):
        start = made.start(row) + made.window
        total[start : start + made.window] += weights
    assert (total[made.window : made.window + made.height] > 0).all()


@settings(max_examples=50)
@given(plans())
def test_all_windows_that_reach_into_a_block_begin_in_it_or_in_what_is_swept_with_it(made):
    """That is: in columns that its lane leads with, and in rows of the block above."""
    for block in made.blocks:
        left = block.columns.start - made.lead
        for column in range(made.num_columns):
            start = made.start(column)
            reaches = start < block.left + block.width and start + made.window > block.left
            assert not reaches or left <= column < block.columns.stop
        for row in range(made.num_rows):
            start = made.start(row)
            reaches = start < block.top + block.height and start + made.window > block.top
            above = block.rows.start - made.block_rows
            assert not reaches or max(0, above) <= row < block.rows.stop


@settings(max_examples=50)
@given(plans())
def test_segments_are_part_of_blocks_and_the_overlap_is_part_of_a_block(made):
    assert made.block_rows % made.segment_rows == 0
    assert made.block_rows >= made.overlap
    assert made.block_rows * made.stride >= made.window - made.stride
    assert made.block_shape[0] % made.finish_rows == 0
    assert made.sums_height >= made.block_shape[0]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), 64), ((40, 64), 64), ((1, 1), 32), ((600, 600), 600), ((7, 599), 599)],
)
def test_an_image_that_fits_into_a_window_is_seen_through_one_window(size, expected):
    made = SweepPlan.for_image(*size, SlidingWindow(600, 300), 5)
    assert (made.window, made.num_rows, made.num_columns) == (expected, 1, 1)


def test_other_images_are_seen_through_windows_as_asked_for():
    assert SweepPlan.for_image(31, 601, SlidingWindow(600, 300), 5) == usual(31, 601, 600, 300)


def test_a_plan_depends_on_size_windows_and_outputs_only():
    names = [field.name for field in dataclasses.fields(SweepPlan)]
    assert names == ["height", "width", "window", "stride", "outputs"]


@pytest.mark.parametrize("side", [64, 120, 224, 600, 1024])
@pytest.mark.parametrize("size", [2048, 6000, 10980, 32768])
def test_memory_is_bounded_and_few_windows_are_computed_twice_or_missing_in_groups(side, size):
    for outputs in (2, 5, 19):
        made = usual(size, size, side, side // 2, outputs)
        assert made.sums_height * made.sums_width * (outputs + 1) * 4 <= 2**28
        assert made.group_size * side**2 * outputs * 4 <= 2**28
        columns = min(made.lane_columns + made.lead, made.num_columns)
        groups = -(-made.segment_rows * columns // made.group_size)
        assert made.segment_rows * columns >= 0.85 * groups * made.group_size
        assert made.lead <= 0.25 * made.lane_columns
        assert len(made.blocks) >= min(8, made.num_rows)


def test_images_of_many_sizes_share_few_sizes_of_groups():
    assert len({usual(size, size, 64, 32).group_size for size in range(64, 6000, 7)}) <= 30


def test_runs_are_consecutive_and_of_equal_length():
    for count in (1, 3, 8):
        runs = deal(range(20), count)
        assert [n for run in runs for n in run] == list(range(20))
        assert max(map(len, runs)) - min(map(len, runs)) <= 1
    assert sorted(map(len, deal([7, 8], 3))) == [0, 1, 1]


@pytest.mark.parametrize("stride", [0, -1, 17])
def test_an_invalid_stride_is_an_error(stride):
    with pytest.raises(
        ValueError, match=rf"stride: found {stride} with a window of 16 pixels; expected 1"
    ):
        SlidingWindow(16, stride)
