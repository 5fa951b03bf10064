import functools
import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slide_inference import by_mmsegmentation, slidings

from ssl_jax.devices import mesh
from ssl_jax.scenes import SlidingWindow, compute_sliding_logits, make_window_step
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

BANDS, OUTPUTS = 2, 3


class Network(nn.Module):
    """What it says of a pixel depends on its surroundings, and on where in the window it is."""

    @nn.compact
    def __call__(self, image):
        x = nn.Conv(4, (5, 5))(image.astype(jnp.float32) / 255)
        place = jnp.linspace(0, 1, image.shape[2])[:, None] + image.shape[1]
        return nn.Dense(OUTPUTS)(jnp.tanh(x) + x.mean((1, 2), keepdims=True) + place)


class InMemory:
    """A picture of random pixels; nothing is asked about the parts that `unwanted` names."""

    def __init__(self, height, width, seed=0, unwanted=None):
        rng = np.random.default_rng(seed)
        self.image = rng.integers(0, 256, (height, width, BANDS), np.uint8)
        self.height, self.width = height, width
        self.asked = np.ones((height, width), bool)
        if unwanted:
            self.asked[unwanted] = False

    def read(self, top, left, height, width):
        return {"image": self.image[top : top + height, left : left + width]}

    def wanted(self, top, left, height, width):
        return self.asked[top : top + height, left : left + width].any()


@functools.cache
def variables():
    return Network().init(jax.random.key(0), np.zeros((1, 8, 8, BANDS), np.uint8))


@functools.cache
def step(devices, flips=False):
    return make_window_step(Network().apply, mesh.make_data_mesh(jax.devices()[:devices]), flips)


def slide(images, sliding, devices=8, batch_size=8, stop=None):
    """The logits of each picture, put together from its bands; NaN where there was none."""
    over = mesh.make_data_mesh(jax.devices()[:devices])
    found = {id(p): np.full((p.height, p.width, OUTPUTS), np.nan, np.float32) for p in images}
    bands = compute_sliding_logits(
        step(devices, sliding.flips),
        mesh.replicate(variables(), over),
        images,
        sliding,
        over,
        batch_size,
        stop,
    )
    for image, top, logits in bands:
        assert logits.dtype == np.float32
        here = found[id(image)][top : top + len(logits)]
        assert np.isnan(here).all()
        here[:] = logits
    return [found[id(image)] for image in images]


def by_hand(image, sliding):
    """`slide_inference`, one window after the other."""
    total = np.zeros((image.height, image.width, OUTPUTS))
    seen = np.zeros((image.height, image.width, 1))
    axes = [
        by_mmsegmentation(size, sliding.window, sliding.stride)
        for size in (image.height, image.width)
    ]
    for y1, y2 in axes[0]:
        for x1, x2 in axes[1]:
            total[y1:y2, x1:x2] += of_window(image.image[y1:y2, x1:x2], sliding.flips)
            seen[y1:y2, x1:x2] += 1
    return total / seen


def of_window(image, flips):
    views = [(), (0,), (1,), (0, 1)] if flips else [()]
    answers = [
        np.flip(network(np.flip(image, axes)[None])[0], axes).astype(np.float64) for axes in views
    ]
    return np.mean(answers, axis=0)


def network(image):
    return np.asarray(jax.jit(Network().apply)(variables(), image))


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("size", [(33, 50), (32, 48), (16, 60), (9, 40), (7, 5), (16, 16)])
def test_logits_are_those_of_slide_inference(size, flips):
    sliding, image = SlidingWindow(16, 10, flips), InMemory(*size)
    np.testing.assert_allclose(slide([image], sliding)[0], by_hand(image, sliding), atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), slidings(), st.integers(1, 3))
def test_any_size_is_covered_by_bands_that_do_not_overlap(height, width, sliding, number):
    """With a network that answers with the pixel: its mean over windows is the pixel."""
    side, stride = sliding
    images = [InMemory(height + n % 2, width, seed=n) for n in range(number)]
    over = mesh.make_data_mesh(jax.devices()[:2])
    batches = []

    def answer(variables, batch):
        batches.append(batch["image"].shape)
        return batch["image"].astype(jnp.float32)

    done = [0] * number
    bands = compute_sliding_logits(answer, {}, images, SlidingWindow(side, stride), over, 4)
    for image, top, logits in bands:
        which = images.index(image)
        assert top == done[which]
        assert len(logits) <= side
        done[which] += len(logits)
        np.testing.assert_array_equal(logits, image.image[top : done[which]])
    assert done == [image.height for image in images]
    assert {shape[0] for shape in batches} == {4}


def test_a_window_no_smaller_than_the_picture_sees_it_whole():
    for size in ((20, 31), (32, 32)):
        image = InMemory(*size)
        whole = network(image.image[None])[0]
        np.testing.assert_allclose(slide([image], SlidingWindow(32, 8))[0], whole, atol=1e-6)


def test_logits_are_the_same_to_the_bit_on_other_devices_and_in_other_batches():
    images = [InMemory(30, 41), InMemory(9, 20, seed=1), InMemory(30, 41, seed=2)]
    for flips in (False, True):
        sliding = SlidingWindow(16, 7, flips)
        expected = slide(images, sliding, devices=1, batch_size=1)
        for devices, batch_size in ((1, 5), (8, 8), (8, 16)):
            for one, other in zip(
                expected, slide(images, sliding, devices, batch_size), strict=True
            ):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_averaged_over_flips_a_flipped_picture_has_flipped_logits(axes):
    image, flipped = InMemory(32, 40), InMemory(32, 40)
    flipped.image = np.flip(image.image, axes)
    one, other = slide([image, flipped], SlidingWindow(16, 8, flips=True))
    np.testing.assert_allclose(other, np.flip(one, axes), atol=2e-6)
    one, other = slide([image, flipped], SlidingWindow(16, 8))
    assert np.abs(other - np.flip(one, axes)).max() > 1e-2


def test_what_is_not_asked_about_is_not_computed_and_changes_nothing_else():
    sliding = SlidingWindow(8, 4)
    everything = InMemory(50, 40)
    some = InMemory(50, 40, unwanted=np.s_[10:45, :])
    some.asked[20, 39] = True
    expected, found = slide([everything], sliding)[0], slide([some], sliding)[0]
    np.testing.assert_array_equal(found[some.asked], expected[some.asked])
    assert np.isnan(found[28:40]).all()  # of no window
    nothing = InMemory(50, 40, unwanted=np.s_[:, :])
    assert np.isnan(slide([nothing, some], sliding)[0]).all()


def test_a_band_is_no_higher_than_a_window_however_high_the_picture():
    image = InMemory(500, 8)
    over = mesh.make_data_mesh(jax.devices()[:1])
    bands = compute_sliding_logits(step(1), variables(), [image], SlidingWindow(8, 4), over, 4)
    assert [len(band.logits) for band in bands] == [4] * 123 + [8]


def test_asked_to_stop_it_stops_after_the_batch():
    image = InMemory(8, 400)
    dispatched = []

    def answer(variables, batch):
        dispatched.append(len(batch["image"]))
        if len(dispatched) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch["image"].astype(jnp.float32)

    over = mesh.make_data_mesh(jax.devices()[:1])
    with ShutdownSignal() as stop, pytest.raises(Stopped):
        list(compute_sliding_logits(answer, {}, [image], SlidingWindow(8, 4), over, 2, stop))
    assert len(dispatched) == 3


@pytest.mark.parametrize("stride", [0, -1, 17])
def test_a_stride_that_leaves_gaps_is_refused(stride):
    with pytest.raises(ValueError, match=rf"stride is {stride} with a window of 16; expected 1 to"):
        SlidingWindow(16, stride)
