import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ssl_jax.augment.mix import Mix

HEIGHT, WIDTH, CLASSES = 20, 16, 5
RECIPE = Mix(0.8, 1.0)


def draw(pairs=8, seed=0):
    """Create images of alternately 0 and 1, with one-hot targets that differ between neighbours."""
    rng = np.random.default_rng(seed)
    values = np.tile(np.float32([0, 1]), pairs)
    images = np.broadcast_to(values[:, None, None, None], (2 * pairs, HEIGHT, WIDTH, 3))
    labels = np.concatenate([rng.permutation(CLASSES)[:2] for _ in range(pairs)])
    index = rng.permutation(2 * pairs).astype(np.int32)
    return index, images, np.eye(CLASSES, dtype=np.float32)[labels], labels


@pytest.fixture(scope="module")
def thousand_pairs():
    """A thousand pairs before and after being mixed with one draw per pair."""
    before = draw(1000)
    mix = Mix(0.8, 1.0, mode="pair")
    return before, jax.device_get(jax.jit(mix)(jax.random.key(0), *before[:3]))


def test_targets_are_mixed_in_the_proportion_of_the_pixels(thousand_pairs):
    (_, images, _, labels), (mixed, targets) = thousand_pairs
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    kept = 1 - np.abs(mixed - images).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(targets[np.arange(2000), labels], kept, atol=1e-5)
    neighbours = labels.reshape(-1, 2)[:, ::-1].reshape(-1)
    np.testing.assert_allclose(targets[np.arange(2000), neighbours], 1 - kept, atol=1e-5)
    np.testing.assert_allclose(mixed[::2] + mixed[1::2], 1, atol=1e-6)


def test_half_of_the_pairs_are_cut_and_half_are_blended(thousand_pairs):
    mixed = thousand_pairs[1][0][::2]
    boxed = ((mixed == 0) | (mixed == 1)).all(axis=(1, 2, 3))
    constant = (mixed == mixed[:, :1, :1, :1]).all(axis=(1, 2, 3))
    assert (boxed | constant).all()
    assert abs((boxed & ~constant).mean() - 0.5) < 0.07
    for box in mixed[boxed & ~constant][..., 0]:
        rows, columns = box.any(axis=1).sum(), box.any(axis=0).sum()
        assert box.sum() == rows * columns
    # λ of cutmix is uniform, that of mixup Beta(0.8, 0.8): symmetric, of variance 1 / (4 · 2.6).
    lam = 1 - mixed[constant & ~boxed][:, 0, 0, 0]
    assert abs(lam.mean() - 0.5) < 0.05
    assert abs(lam.var() - 1 / (4 * 2.6)) < 0.015


def test_boxes_inside_the_image_are_squares():
    keys = jax.random.split(jax.random.key(3), 2000)
    pixels, weights = jax.jit(jax.vmap(lambda k: Mix(cutmix=1.0).draw_weights(k, 64, 64)))(keys)
    boxes = 1 - np.asarray(pixels)
    np.testing.assert_allclose(weights, 1 - boxes.mean(axis=(1, 2)), atol=1e-6)
    heights, widths = boxes.any(axis=2).sum(axis=1), boxes.any(axis=1).sum(axis=1)
    inside = ~(boxes[:, [0, -1]].any(axis=(1, 2)) | boxes[:, :, [0, -1]].any(axis=(1, 2)))
    assert inside.sum() > 300
    np.testing.assert_array_equal(heights[inside], widths[inside])
    assert boxes.sum(axis=(1, 2)).max() > 0.8 * 64 * 64


@pytest.mark.parametrize(("mode", "num_draws"), [("batch", 1), ("pair", 8)])
def test_there_is_one_draw_per_batch_or_one_per_pair(mode, num_draws):
    index, images, targets, _ = draw()
    mix = jax.jit(Mix(mixup=0.8, mode=mode))
    values = np.asarray(mix(jax.random.key(0), index, images, targets)[0])[::2, 0, 0, 0]
    assert len(np.unique(values)) == num_draws
    other_step = np.asarray(mix(jax.random.key(1), index, images, targets)[0])[::2, 0, 0, 0]
    assert not (values == other_step).any()


@pytest.mark.parametrize("mode", ["batch", "pair"])
def test_mixing_does_not_depend_on_the_devices(mode):
    index, images, targets, _ = draw()
    images = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    mix = Mix(0.8, 1.0, mode=mode)
    for seed in range(3):
        key = jax.random.key(seed)
        expected = jax.jit(mix)(key, index, images, targets)
        mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
        specs = (P(), P("data"), P("data"), P("data"))
        mapped = jax.shard_map(mix, mesh=mesh, in_specs=specs, out_specs=P("data"))
        for ours, theirs in zip(
            jax.jit(mapped)(key, index, images, targets), expected, strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_nothing_is_mixed_with_probability_zero():
    index, images, targets, _ = draw()
    for mix in (Mix(0.8, probability=0.0), Mix(cutmix=1.0, probability=0.0)):
        mixed, mixed_targets = mix(jax.random.key(0), index, images, targets)
        np.testing.assert_array_equal(mixed, images)
        np.testing.assert_allclose(mixed_targets, targets, atol=1e-6)
    assert Mix().group_size == 1
    assert Mix(0.8).group_size == Mix(cutmix=1.0).group_size == 2


def test_multi_label_targets_are_mixed():
    index, images, _, _ = draw(1)
    targets = jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    mixed, mixed_targets = Mix(mixup=0.8)(jax.random.key(0), index, images, targets)
    weight = 1 - mixed[0, 0, 0, 0]
    np.testing.assert_allclose(mixed_targets[0], [weight, 1, 1 - weight], atol=1e-6)


def test_an_unknown_mode_is_an_error():
    with pytest.raises(ValueError, match="mode: found 'elem'; expected batch or pair"):
        Mix(mode="elem")
