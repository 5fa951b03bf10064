"""Sweeps against a float64 reference, on any devices, in any order, and of any part of an image."""

import functools
import threading
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blended_logits import blend

from ssl_jax.devices.mesh import make_data_mesh
from ssl_jax.scenes import SweepPlan, Task, make_sweep, sweep_plan

BANDS, OUTPUTS = 2, 3
NARROW = {
    "_MAX_LANE": 96,
    "_MAX_SUMS": 2**14,
    "_MAX_GROUP_PIXELS": 2**10,
    "_MAX_FINISHED": 2**10,
}


class Network(nn.Module):
    """Its output at a pixel depends on the surroundings and on the position in the window."""

    @nn.compact
    def __call__(self, image):
        x = nn.Conv(4, (5, 5))(image.astype(jnp.float32) / 255)
        position = jnp.linspace(0, 1, image.shape[2])[:, None] + image.shape[1]
        return nn.Dense(OUTPUTS)(jnp.tanh(x) + x.mean((1, 2), keepdims=True) + position)


class RandomImage:
    """An image of random pixels, which counts how often each is read."""

    def __init__(self, height, width, seed=0):
        rng = np.random.default_rng(seed)
        self.image = rng.integers(0, 256, (height, width, BANDS), np.uint8)
        self.height, self.width = height, width
        self.needed = np.ones((height, width), bool)
        self.has_data = None
        self.reads = np.zeros((height, width), int)

    def read(self, top, left, height, width):
        assert 0 <= top < top + height <= self.height
        assert 0 <= left < left + width <= self.width
        place = np.s_[top : top + height, left : left + width]
        self.reads[place] += 1
        arrays = {"image": self.image[place]}
        return arrays if self.has_data is None else {**arrays, "has_data": self.has_data[place]}

    def is_needed(self, top, left, height, width):
        assert 0 <= top < top + height <= self.height
        assert 0 <= left < left + width <= self.width
        return self.needed[top : top + height, left : left + width].any()


@functools.cache
def variables():
    return Network().init(jax.random.key(0), np.zeros((1, 8, 8, BANDS), np.uint8))


@functools.cache
def compiled_network():
    return jax.jit(Network().apply)


def compute_window(window):
    return np.asarray(compiled_network()(variables(), window[None])[0])


def finish(logits, pixels):
    return {"logits": logits, **pixels}, {"pixels": pixels["computed"].sum(), "ones": jnp.ones(2)}


@functools.cache
def sweep(devices=1, flips=False, narrow=False, in_flight=2, apply=None):
    mesh = make_data_mesh(jax.devices()[:devices])
    return make_sweep(apply or Network().apply, finish, mesh, flips, in_flight)


def return_pixels(variables, image):
    return jnp.concatenate([image.astype(jnp.float32), jnp.full((*image.shape[:3], 1), -7.5)], -1)


def make_plan(image, window, stride, narrow=False):
    """Make a plan, and a narrow one with small limits: of several lanes of several blocks."""
    with mock.patch.multiple(sweep_plan, **(NARROW if narrow else {"_MAX_LANE": 2**14})):
        made = SweepPlan(image.height, image.width, window, stride, OUTPUTS)
        assert made.finish_rows
        assert made.group_size
        return made


def sweep_image(image, sliding, numbers=None, narrow=False, **options):
    """Compute the logits of an image, or of the blocks of some numbers in their order.

    Returns:
        (height, width, OUTPUTS) float32, NaN where nothing is computed.
    """
    made = make_plan(image, *sliding, narrow)
    blocks = made.blocks if numbers is None else [made.blocks[n] for n in numbers]
    tasks = [Task(image, block) for block in blocks]
    logits = np.full((made.height, made.width, OUTPUTS), np.nan, np.float32)
    finished = sweep(narrow=narrow, **options)(variables(), made, tasks)
    positions = []
    for position, arrays, sums in finished:
        positions.append(position)
        block = blocks[position]
        part = logits[block.top : block.top + block.height, block.left : block.left + block.width]
        assert np.isnan(part).all()
        if arrays is not None:
            assert sums["pixels"] == arrays["computed"].sum()
            part[:] = np.where(arrays["computed"][..., None], arrays["logits"], np.nan)
    assert sorted(positions) == list(range(len(blocks)))
    return logits


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize(
    ("size", "sliding"),
    [((1, 1), (16, 8)), ((31, 97), (16, 10)), ((15, 17), (16, 16)), ((120, 33), (16, 5))],
)
def test_logits_are_blended_like_a_float64_reference(size, sliding, flips):
    image = RandomImage(*size)
    axes = [(), (0,), (1,), (0, 1)] if flips else [()]

    def compute(pixels):
        views = [np.flip(compute_window(np.flip(pixels, a)), a) for a in axes]
        return np.mean(np.asarray(views, np.float64), axis=0)

    expected = blend(image.image, *sliding, compute)
    np.testing.assert_allclose(sweep_image(image, sliding, flips=flips), expected, atol=1e-5)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    ("size", "sliding"),
    [
        *(((1, 1), (16, 8)), ((31, 700), (16, 8)), ((15, 16), (16, 8)), ((17, 211), (16, 3))),
        *(((97, 16), (9, 9)), ((300, 40), (16, 12))),
    ],
)
def test_a_network_that_copies_bands_gives_them_back_and_a_constant_stays_one(
    size, sliding, narrow
):
    image = RandomImage(*size)
    logits = sweep_image(image, sliding, narrow=narrow, apply=return_pixels)
    np.testing.assert_allclose(logits[..., :BANDS], image.image, atol=1e-4)
    np.testing.assert_allclose(logits[..., BANDS], -7.5, rtol=1e-6)


@pytest.mark.parametrize("narrow", [False, True])
def test_bytes_are_the_same_on_any_devices_and_for_any_blocks_in_any_order(narrow):
    image, sliding = RandomImage(400, 130), (16, 7)
    expected = sweep_image(image, sliding, narrow=narrow)
    made = make_plan(image, *sliding, narrow)
    count = len(made.blocks)
    assert count > 8
    assert (made.lead > 0) == narrow
    actual = sweep_image(image, sliding, narrow=narrow, devices=8)
    np.testing.assert_array_equal(actual, expected)
    numbers = np.random.default_rng(0).permutation(count)
    for subset in (range(count - 1, -1, -1), [count - 1], numbers[: count // 2]):
        actual = sweep_image(image, sliding, subset, narrow=narrow)
        is_done = ~np.isnan(actual)
        np.testing.assert_array_equal(actual[is_done], expected[is_done])
        pixels = sum(made.blocks[n].height * made.blocks[n].width for n in subset)
        assert is_done[..., 0].sum() == pixels
    actual = sweep_image(image, sliding, numbers, narrow=narrow, devices=2)
    np.testing.assert_array_equal(actual, expected)


def test_bytes_are_the_same_with_other_groups_in_flight_and_flips():
    image, sliding = RandomImage(100, 60), (16, 7)
    for flips in (False, True):
        expected = sweep_image(image, sliding, flips=flips)
        actual = sweep_image(image, sliding, flips=flips, in_flight=5, devices=2)
        np.testing.assert_array_equal(actual, expected)


def test_blocks_of_several_images_are_shared_by_the_devices():
    images = [RandomImage(40, 30, seed) for seed in range(5)]
    made = make_plan(images[0], 16, 8)
    assert len(made.blocks) == 1
    tasks = [Task(image, made.blocks[0]) for image in images]
    for position, arrays, _ in sweep(2)(variables(), made, tasks):
        expected = sweep_image(images[position], (16, 8))
        np.testing.assert_array_equal(arrays["logits"], expected)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_averaged_over_flips_a_flipped_image_has_flipped_logits(axes):
    image, flipped = RandomImage(32, 40), RandomImage(32, 40)
    flipped.image = np.flip(image.image, axes)
    one, other = (sweep_image(i, (16, 8), flips=True) for i in (image, flipped))
    np.testing.assert_allclose(other, np.flip(one, axes), atol=2e-6)
    one, other = (sweep_image(i, (16, 8)) for i in (image, flipped))
    assert np.abs(other - np.flip(one, axes)).max() > 1e-2


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("reason", ["needed", "has_data"])
def test_windows_in_which_nothing_counts_are_left_out(reason, narrow):
    """As if they didn't exist, whatever else is swept; what is not needed is not read either."""
    image, sliding = RandomImage(300, 130), (16, 8)
    counts = np.zeros((300, 130), bool)
    counts[40:52, 10:100] = counts[130, 129] = counts[290:, :3] = True
    setattr(image, reason, counts)
    expected = blend(
        image.image, *sliding, compute_window, lambda rows, columns: counts[rows, columns].any()
    )
    actual = sweep_image(image, sliding, narrow=narrow)
    np.testing.assert_allclose(actual[counts], expected[counts], atol=1e-5)
    assert np.isnan(actual).mean() > 0.5
    assert (image.reads == 0).mean() > 0.4 if reason == "needed" else image.reads.all()
    count = len(make_plan(image, *sliding, narrow).blocks)
    for options in ({"devices": 8}, {"numbers": range(count - 1, -1, -1)}):
        same = sweep_image(image, sliding, narrow=narrow, **options)
        np.testing.assert_array_equal(same, actual)


@pytest.mark.parametrize("narrow", [False, True])
def test_other_arrays_of_an_image_are_handed_to_the_finish(narrow):
    image = RandomImage(130, 130)
    image.has_data = np.random.default_rng(1).random((130, 130)) < 0.5
    made = make_plan(image, 16, 8, narrow)
    tasks = [Task(image, block) for block in made.blocks]
    has_data = np.zeros_like(image.has_data)
    for position, arrays, _ in sweep(narrow=narrow)(variables(), made, tasks):
        block = made.blocks[position]
        place = np.s_[block.top : block.top + block.height, block.left : block.left + block.width]
        has_data[place] = arrays["has_data"]
        assert arrays["computed"].all()
    np.testing.assert_array_equal(has_data, image.has_data)


@pytest.mark.parametrize("sliding", [(16, 8), (16, 3), (16, 16)])
def test_a_pixel_is_read_once_but_for_the_image_that_is_continued_at_its_rim(sliding):
    image = RandomImage(211, 97)
    sweep_image(image, sliding, apply=return_pixels)
    assert (image.reads[16:-16] == 1).all()
    assert image.reads.max() <= 2


def make_tasks(image, sliding):
    made = make_plan(image, *sliding)
    return made, [Task(image, block) for block in made.blocks]


@pytest.mark.parametrize("where", ["read", "check"])
def test_an_error_ends_the_sweep_and_its_threads(where):
    threads = threading.active_count()
    made, tasks = make_tasks(RandomImage(400, 130), (16, 7))
    calls = []

    def fail_at_last(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError("disk on fire")
        return RandomImage.read(tasks[0].image, *arguments) if arguments else None

    options = {"check": fail_at_last} if where == "check" else {}
    if where == "read":
        tasks[0].image.read = fail_at_last
    with pytest.raises(OSError, match="disk on fire"):
        list(sweep()(variables(), made, tasks, **options))
    assert threading.active_count() == threads


def test_a_sweep_that_is_left_early_ends_its_threads():
    threads = threading.active_count()
    made, tasks = make_tasks(RandomImage(400, 130), (16, 7))
    finished = sweep()(variables(), made, tasks)
    next(finished)
    finished.close()
    assert threading.active_count() == threads
    assert tasks[0].image.reads[-1].max() == 0


def test_what_is_in_memory_does_not_grow_with_the_height_of_the_image():
    peaks = []
    for height in (2000, 8000):
        made, tasks = make_tasks(RandomImage(height, 40), (16, 8))
        peak = 0
        for _ in sweep(apply=return_pixels)(variables(), made, tasks):
            peak = max(peak, sum(array.nbytes for array in jax.live_arrays()))
        peaks.append(peak / made.sums_height)
    assert peaks[1] < 1.3 * peaks[0]
