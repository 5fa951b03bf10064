import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models import ResNet, UperNet, ViT
from ssl_jax.models.upernet import Neck, adaptive_average_pool, resize

RESNET = ResNet(stages=(1, 1, 1, 1), bottleneck=False, width=4, norm="group")
VIT = functools.partial(ViT, dim=8, depth=4, heads=2, patch_size=8, image_size=16)
UPERNET = functools.partial(UperNet, num_classes=3, channels=8, auxiliary_channels=4, norm="group")


def shapes(net, size, train=False):
    image = jnp.zeros((1, *size, 4))
    return jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), image, train=train))


def test_adaptive_pooling_is_the_mean_of_each_bin():
    x = np.random.default_rng(0).normal(size=(2, 7, 4, 3)).astype(np.float32)
    for side in (1, 2, 3, 6):
        expected = np.empty((2, side, side, 3))
        for i in range(side):
            for j in range(side):
                rows = slice(i * 7 // side, -(-(i + 1) * 7 // side))
                columns = slice(j * 4 // side, -(-(j + 1) * 4 // side))
                expected[:, i, j] = x[:, rows, columns].mean((1, 2))
        np.testing.assert_allclose(adaptive_average_pool(x, side), expected, atol=1e-6)


@pytest.mark.parametrize("size", [10, 3])
def test_resize_interpolates_between_the_centres_of_pixels(size):
    x = np.random.default_rng(0).normal(size=(1, 5, 1, 2)).astype(np.float32)
    centres = (np.arange(size) + 0.5) * 5 / size - 0.5
    expected = [np.interp(centres, np.arange(5), x[0, :, 0, c]) for c in (0, 1)]
    np.testing.assert_allclose(resize(x, (size, 1))[0, :, 0], np.stack(expected, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [(RESNET, (64, 64)), (RESNET, (75, 50)), (VIT(), (32, 16)), (VIT(), (37, 18))],
    ids=["ResNet", "ResNet, odd", "ViT", "ViT, incomplete patches"],
)
def test_logits_have_the_size_of_the_image(backbone, size):
    net = UPERNET(backbone)
    logits, variables = shapes(net, size)
    assert logits.shape == (1, *size, 3)
    pair, training_variables = shapes(net, size, train=True)
    assert pair.logits.shape == pair.auxiliary.shape == (1, *size, 3)
    assert variables == training_variables  # including the auxiliary head's
    neck = {"neck"} if isinstance(backbone, ViT) else set()
    assert set(variables["params"]) == {"backbone", "head", "auxiliary"} | neck


def test_dropout_is_applied_if_keys_are_given(draw):
    net = UPERNET(VIT(), dropout=0.5, dtype=jnp.bfloat16)
    image = jax.random.normal(jax.random.key(1), (2, 12, 16, 4))
    variables = draw(net, image)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}

    def run(keys):
        return net.apply(variables, image), net.apply(variables, image, train=True, keys=keys)

    logits, pair = jax.jit(run)(jax.random.split(jax.random.key(2), 2))
    assert logits.dtype == pair.logits.dtype == pair.auxiliary.dtype == jnp.float32
    assert np.isfinite(pair.auxiliary).all()
    assert np.abs(pair.logits - logits).max() > 0.01


def test_the_backbone_has_the_parameters_of_a_pretrained_network():
    own = jax.eval_shape(lambda: VIT().init(jax.random.key(0), jnp.zeros((1, 16, 16, 4))))
    assert shapes(UPERNET(VIT()), (32, 32))[1]["params"]["backbone"] == own["params"]


@pytest.mark.parametrize(
    ("patch_size", "sides"),
    [(16, (20, 10, 5, 3)), (8, (10, 5, 3, 2)), (15, (20, 10, 5, 3)), (4, (5, 3, 2, 1))],
)
def test_the_neck_rescales_a_vit_to_the_strides_of_a_resnet(patch_size, sides):
    levels = (jnp.zeros((1, 5, 5, 4)),) * 4
    neck = Neck(patch_size, "group", jnp.float32)
    maps = jax.eval_shape(lambda: neck.init_with_output(jax.random.key(0), levels, False)[0])
    assert [x.shape for x in maps] == [(1, side, side, 4) for side in sides]


def test_halving_in_the_neck_takes_maxima_and_keeps_the_border():
    level = -1.0 - jnp.arange(9.0).reshape(1, 3, 3, 1)
    neck = Neck(4, "group", jnp.float32)
    maps, _ = neck.init_with_output(jax.random.key(0), (level,) * 4, False)
    np.testing.assert_array_equal(maps[0], level)
    np.testing.assert_array_equal(maps[1][0, :, :, 0], [[-1, -3], [-7, -9]])
