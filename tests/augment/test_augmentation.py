import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ssl_jax.augment import Augmentation, Normalisation, SegmentationAugmentation
from ssl_jax.objectives.shared import make_random_views

KEYS = jax.random.split(jax.random.key(0), 16)
FLIPS = Augmentation(horizontal_flip=True, vertical_flip=True, quarter_turns=True)


def draw_images(n=16, size=20, bands=4):
    return np.random.default_rng(0).random((n, size, size, bands)).astype(np.float32)


def test_default_augmentations_are_the_identity():
    image = jnp.asarray(draw_images()[0])
    mask = jnp.zeros((20, 20), jnp.uint8)
    np.testing.assert_array_equal(Augmentation()(KEYS[0], image), image)
    np.testing.assert_array_equal(Augmentation.evaluation(20)(KEYS[0], image), image)
    same, same_mask = SegmentationAugmentation()(KEYS[0], image, mask)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(same_mask, mask)


@pytest.mark.parametrize(
    ("views", "bands"),
    [
        (Augmentation.simclr(16), 6),
        (Augmentation.simclr(16, rgb=(2, 1, 0)), 3),
        (Augmentation.simclr(16, rgb=(0, 1, 2)), 4),
        (Augmentation.mae(16), 1),
        (Augmentation.finetune(16), 4),
        (Augmentation.finetune(16, operations=2, fill=(0.3,) * 4, erasing=0.25), 4),
        (Augmentation.evaluation(16, centre=0.875), 3),
    ],
    ids=[
        "simclr",
        "simclr rgb",
        "simclr rgb + nir",
        "mae",
        "finetune",
        "finetune of MAE",
        "evaluation",
    ],
)
def test_presets_work_for_any_bands_and_stay_in_range(views, bands):
    out = np.asarray(jax.jit(jax.vmap(views))(KEYS, draw_images(bands=bands)))
    assert out.shape == (16, 16, 16, bands)
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.isfinite(out).all()


def test_augmentations_are_hashable_and_replaceable():
    assert hash(Augmentation.simclr(16)) == hash(Augmentation.simclr(16))
    assert dataclasses.replace(Augmentation.mae(16), size=8).size == 8


def test_a_view_depends_only_on_its_key_and_not_on_the_devices():
    views = Augmentation.simclr(16, rgb=(0, 1, 2))
    images = draw_images()
    expected = jax.jit(jax.vmap(views))(KEYS, images)
    mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(jax.vmap(views), mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    np.testing.assert_allclose(jax.jit(mapped)(KEYS, images), expected, atol=1e-6)
    assert not np.allclose(expected[0], views(KEYS[1], jnp.asarray(images[0])))


def test_erasing_replaces_a_rectangle_of_the_standardised_view_by_noise():
    normalise = Normalisation((1e-4,) * 2, (0.0,) * 2, (3000.0,) * 2, (500.0,) * 2)
    images = np.full((16, 32, 32, 2), 4000, np.uint16)  # two standard deviations above the mean
    views = Augmentation.finetune(32, erasing=1.0)
    seen = np.asarray(
        jax.jit(make_random_views, static_argnums=(0, 1))(views, normalise, KEYS, images)
    )
    erased = np.abs(seen - 2).max(axis=-1) > 1e-3
    assert erased.any(axis=(1, 2)).all()
    assert not erased.all(axis=(1, 2)).any()
    assert abs(seen[erased].mean()) < 0.1
    assert abs(seen[erased].std() - 1) < 0.1
    plain = dataclasses.replace(views, erasing=Augmentation().erasing)
    crops = [jax.jit(jax.vmap(v))(KEYS, draw_images(size=32)) for v in (views, plain)]
    np.testing.assert_array_equal(*crops)


def test_all_eight_orientations_are_drawn_equally():
    keys = jax.random.split(jax.random.key(1), 1600)
    image = jnp.arange(4.0).reshape(2, 2, 1) / 4
    drawn = np.asarray(jax.vmap(FLIPS, (0, None))(keys, image)).reshape(-1, 4)
    orientations, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(orientations) == 8
    assert (abs(counts - 200) < 60).all()


@pytest.mark.parametrize(
    ("views", "probability"),
    [
        (Augmentation(gray_probability=0.2), 0.2),
        (Augmentation(brightness=0.8, jitter_probability=0.8), 0.8),
        (Augmentation(blur_probability=0.5, blur_sigma=(1.0, 2.0)), 0.5),
    ],
    ids=["gray", "jitter", "blur"],
)
def test_operations_are_applied_with_their_probability(views, probability):
    keys = jax.random.split(jax.random.key(2), 2000)
    image = jnp.asarray(draw_images(size=6)[0])
    out = jax.vmap(views, (0, None))(keys, image)
    changed = np.abs(out - image).max(axis=(1, 2, 3)) > 1e-4
    assert abs(changed.mean() - probability) < 0.04


def test_image_and_mask_are_transformed_together():
    size = 16
    label = np.random.default_rng(0).integers(0, 2, (size, size)).astype(np.uint8)
    image = label[..., None].astype(np.float32)
    views = SegmentationAugmentation(
        size=12, horizontal_flip=True, vertical_flip=True, quarter_turns=True
    )
    images, masks = jax.vmap(views, (0, None, None))(KEYS, image, label)
    np.testing.assert_allclose(images[..., 0], masks, atol=1e-6)
    assert masks.dtype == np.uint8
    assert len(np.unique(np.asarray(masks), axis=0)) > 4


def test_padding_of_a_shrunk_example_is_black_and_ignored():
    views = SegmentationAugmentation(size=16, scale=(0.5, 0.5), ignore_label=9)
    image, mask = views(KEYS[0], jnp.ones((16, 16, 4)), jnp.ones((16, 16), jnp.uint8))
    np.testing.assert_array_equal(image.min(-1) > 0.99, mask == 1)
    np.testing.assert_array_equal(image.max(-1) == 0, mask == 9)
    assert (np.asarray(mask) == 1).sum() == 64
