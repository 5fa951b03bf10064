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
from slide_inference import compute_mmsegmentation_windows, window_sizes_and_strides

from ssl_jax.devices import mesh
from ssl_jax.scenes import SlidingWindow, compute_sliding_logits, make_window_step
from ssl_jax.training.shutdown import ShutdownSignal, Stopped

BANDS, OUTPUTS = 2, 3


class Network(nn.Module):
    """Its output at a pixel depends on the surroundings and on the position in the window."""

    @nn.compact
    def __call__(self, image):
        x = nn.Conv(4, (5, 5))(image.astype(jnp.float32) / 255)
        position = jnp.linspace(0, 1, image.shape[2])[:, None] + image.shape[1]
        return nn.Dense(OUTPUTS)(jnp.tanh(x) + x.mean((1, 2), keepdims=True) + position)


class RandomImage:
    """An image of random pixels, of index those in the slices `excluded` are not evaluated."""

    def __init__(self, height, width, seed=0, excluded=None):
        rng = np.random.default_rng(seed)
        self.image = rng.integers(0, 256, (height, width, BANDS), np.uint8)
        self.height, self.width = height, width
        self.evaluated = np.ones((height, width), bool)
        if excluded:
            self.evaluated[excluded] = False

    def read(self, top, left, height, width):
        return {"image": self.image[top : top + height, left : left + width]}

    def is_needed(self, top, left, height, width):
        return self.evaluated[top : top + height, left : left + width].any()


@functools.cache
def variables():
    return Network().init(jax.random.key(0), np.zeros((1, 8, 8, BANDS), np.uint8))


@functools.cache
def step(devices, flips=False):
    return make_window_step(Network().apply, mesh.make_data_mesh(jax.devices()[:devices]), flips)


def slide(images, sliding, devices=8, batch_size=8, stop=None):
    """Compute the logits of each image from its blocks of rows; NaN for rows in no block."""
    device_mesh = mesh.make_data_mesh(jax.devices()[:devices])
    logits_by_id = {
        id(p): np.full((p.height, p.width, OUTPUTS), np.nan, np.float32) for p in images
    }
    blocks = compute_sliding_logits(
        step(devices, sliding.flips),
        mesh.replicate(variables(), device_mesh),
        images,
        sliding,
        device_mesh,
        batch_size,
        stop,
    )
    for image, top, logits in blocks:
        assert logits.dtype == np.float32
        rows = logits_by_id[id(image)][top : top + len(logits)]
        assert np.isnan(rows).all()
        rows[:] = logits
    return [logits_by_id[id(image)] for image in images]


def compute_reference(image, sliding):
    """Compute `slide_inference`, one window after the other."""
    total = np.zeros((image.height, image.width, OUTPUTS))
    count = np.zeros((image.height, image.width, 1))
    axes = [
        compute_mmsegmentation_windows(size, sliding.window, sliding.stride)
        for size in (image.height, image.width)
    ]
    for y1, y2 in axes[0]:
        for x1, x2 in axes[1]:
            total[y1:y2, x1:x2] += average_flips(image.image[y1:y2, x1:x2], sliding.flips)
            count[y1:y2, x1:x2] += 1
    return total / count


def average_flips(image, flips):
    views = [(), (0,), (1,), (0, 1)] if flips else [()]
    outputs = [
        np.flip(apply_network(np.flip(image, axes)[None])[0], axes).astype(np.float64)
        for axes in views
    ]
    return np.mean(outputs, axis=0)


def apply_network(image):
    return np.asarray(jax.jit(Network().apply)(variables(), image))


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("size", [(33, 50), (32, 48), (16, 60), (9, 40), (7, 5), (16, 16)])
def test_logits_are_those_of_slide_inference(size, flips):
    sliding, image = SlidingWindow(16, 10, flips), RandomImage(*size)
    np.testing.assert_allclose(
        slide([image], sliding)[0], compute_reference(image, sliding), atol=2e-6
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), window_sizes_and_strides(), st.integers(1, 3))
def test_any_size_is_covered_by_blocks_of_rows_without_overlap(height, width, sliding, num_images):
    """With a network that returns its input, the mean over windows is the image itself."""
    side, stride = sliding
    images = [RandomImage(height + n % 2, width, seed=n) for n in range(num_images)]
    device_mesh = mesh.make_data_mesh(jax.devices()[:2])
    batches = []

    def return_pixels(variables, batch):
        batches.append(batch["image"].shape)
        return batch["image"].astype(jnp.float32)

    done = [0] * num_images
    blocks = compute_sliding_logits(
        return_pixels, {}, images, SlidingWindow(side, stride), device_mesh, 4
    )
    for image, top, logits in blocks:
        index = images.index(image)
        assert top == done[index]
        assert len(logits) <= side
        done[index] += len(logits)
        np.testing.assert_array_equal(logits, image.image[top : done[index]])
    assert done == [image.height for image in images]
    assert {shape[0] for shape in batches} == {4}


def test_a_window_no_smaller_than_the_image_covers_all_of_it():
    for size in ((20, 31), (32, 32)):
        image = RandomImage(*size)
        expected = apply_network(image.image[None])[0]
        np.testing.assert_allclose(slide([image], SlidingWindow(32, 8))[0], expected, atol=1e-6)


def test_logits_are_bitwise_equal_for_other_devices_and_batch_sizes():
    images = [RandomImage(30, 41), RandomImage(9, 20, seed=1), RandomImage(30, 41, seed=2)]
    for flips in (False, True):
        sliding = SlidingWindow(16, 7, flips)
        expected = slide(images, sliding, devices=1, batch_size=1)
        for devices, batch_size in ((1, 5), (8, 8), (8, 16)):
            for one, other in zip(
                expected, slide(images, sliding, devices, batch_size), strict=True
            ):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_averaged_over_flips_a_flipped_image_has_flipped_logits(axes):
    image, flipped = RandomImage(32, 40), RandomImage(32, 40)
    flipped.image = np.flip(image.image, axes)
    one, other = slide([image, flipped], SlidingWindow(16, 8, flips=True))
    np.testing.assert_allclose(other, np.flip(one, axes), atol=2e-6)
    one, other = slide([image, flipped], SlidingWindow(16, 8))
    assert np.abs(other - np.flip(one, axes)).max() > 1e-2


def test_excluded_pixels_are_not_computed_and_do_not_change_others():
    sliding = SlidingWindow(8, 4)
    full = RandomImage(50, 40)
    partial = RandomImage(50, 40, excluded=np.s_[10:45, :])
    partial.evaluated[20, 39] = True
    expected, actual = slide([full], sliding)[0], slide([partial], sliding)[0]
    np.testing.assert_array_equal(actual[partial.evaluated], expected[partial.evaluated])
    assert np.isnan(actual[28:40]).all()  # in no window
    empty = RandomImage(50, 40, excluded=np.s_[:, :])
    assert np.isnan(slide([empty, partial], sliding)[0]).all()


def test_a_block_is_no_higher_than_a_window_for_any_image_height():
    image = RandomImage(500, 8)
    device_mesh = mesh.make_data_mesh(jax.devices()[:1])
    blocks = compute_sliding_logits(
        step(1), variables(), [image], SlidingWindow(8, 4), device_mesh, 4
    )
    assert [len(block.logits) for block in blocks] == [4] * 123 + [8]


def test_a_shutdown_request_stops_after_the_batch():
    image = RandomImage(8, 400)
    dispatched = []

    def return_pixels(variables, batch):
        dispatched.append(len(batch["image"]))
        if len(dispatched) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch["image"].astype(jnp.float32)

    device_mesh = mesh.make_data_mesh(jax.devices()[:1])
    with ShutdownSignal() as stop, pytest.raises(Stopped):
        list(
            compute_sliding_logits(
                return_pixels, {}, [image], SlidingWindow(8, 4), device_mesh, 2, stop
            )
        )
    assert len(dispatched) == 3


@pytest.mark.parametrize("stride", [0, -1, 17])
def test_an_invalid_stride_is_an_error(stride):
    with pytest.raises(
        ValueError, match=rf"stride: found {stride} with a window of 16 pixels; expected 1"
    ):
        SlidingWindow(16, stride)
