import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from ssl_jax.models import ResNet, resnet18, resnet50
from ssl_jax.models.resnet import BasicBlock, Bottleneck

TINY = {"stages": (1, 1, 1, 1), "bottleneck": False, "width": 8}


def images(n=4, height=32, width=32, bands=4):
    return jax.random.normal(jax.random.key(1), (n, height, width, bands))


def count_parameters(net, bands):
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 64, 64, bands))))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_sizes_are_those_of_torchvision_without_the_classifier():
    assert count_parameters(resnet50(), bands=3) == 23_508_032
    assert count_parameters(resnet50(), bands=4) == 23_508_032 + 7 * 7 * 64
    assert count_parameters(resnet18(), bands=3) == 11_176_512


def test_parameters_are_named_as_in_torchvision():
    net = resnet50(width=8)
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), images()))["params"]
    blocks = {f"layer{i}_{j}" for i, n in enumerate((3, 4, 6, 3), 1) for j in range(n)}
    assert set(params) == {"conv1", "bn1"} | blocks
    convolutions = {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"}
    assert set(params["layer2_0"]) == convolutions | {"downsample_0", "downsample_1"}
    assert set(params["layer2_1"]) == convolutions
    assert set(params["layer2_1"]["bn3"]) == {"scale", "bias"}


@pytest.mark.parametrize(("block", "channels"), [(BasicBlock, 8), (Bottleneck, 32)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_block_starts_as_the_identity(block, channels, norm):
    module = block(8, 1, norm, jnp.float32)
    x = jax.nn.relu(images(bands=channels))
    output, _ = module.init_with_output(jax.random.key(0), x, True)
    np.testing.assert_array_equal(output, x)


@pytest.mark.parametrize(
    ("size", "small_stem", "sides"),
    [
        ((32, 64), False, [(8, 16), (4, 8), (2, 4), (1, 2)]),
        ((75, 50), False, [(19, 13), (10, 7), (5, 4), (3, 2)]),
        ((32, 32), True, [(32, 32), (16, 16), (8, 8), (4, 4)]),
    ],
)
def test_levels_halve_in_size_rounding_up(size, small_stem, sides):
    net = ResNet(**TINY, small_stem=small_stem)
    x = images(1, *size)
    levels = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), x, method="levels")[0])
    assert [level.shape for level in levels] == [
        (1, *side, 8 * 2**i) for i, side in enumerate(sides)
    ]


def test_padding_is_symmetric_at_even_sizes_too(draw):
    net = ResNet(**TINY, norm="group")
    corner = jnp.zeros((1, 32, 32, 4)).at[0, 0, 0, 1].set(1.0)
    variables = draw(net, corner)
    capture = {"capture_intermediates": True, "mutable": ["intermediates"]}
    _, state = jax.jit(functools.partial(net.apply, **capture))(variables, corner)
    stem = state["intermediates"]["conv1"]["__call__"][0]
    np.testing.assert_allclose(stem[0, 0, 0], variables["params"]["conv1"]["kernel"][3, 3, 1])


def test_the_representation_is_the_last_level_averaged(draw):
    net = ResNet(**TINY)
    x = images()
    variables = draw(net, x)
    last = jax.jit(functools.partial(net.apply, method="levels"))(variables, x)[-1]
    np.testing.assert_allclose(jax.jit(net.apply)(variables, x), last.mean((1, 2)), rtol=1e-5)
    assert last.shape[-1] == net.features == 64


def apply_in_training(net, variables, x, devices):
    def step(variables, x):
        return net.apply(variables, x, train=True, mutable=["batch_stats"])

    axis_types, mesh_devices = (AxisType.Auto,), jax.devices()[:devices]
    mesh = jax.make_mesh((devices,), ("data",), axis_types, devices=mesh_devices)
    specs = {"in_specs": (P(), P("data")), "out_specs": (P("data"), P())}
    return jax.jit(jax.shard_map(step, mesh=mesh, **specs))(variables, x)


def test_batch_norm_uses_the_batches_of_all_devices(draw):
    net = ResNet(**TINY)
    x = images(8) * jnp.arange(1.0, 9.0)[:, None, None, None]
    variables = draw(net, x)
    one, eight = (apply_in_training(net, variables, x, devices) for devices in (1, 8))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, eight)
    stem = jax.lax.conv_general_dilated(
        x,
        variables["params"]["conv1"]["kernel"],
        (2, 2),
        ((3, 3), (3, 3)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    moments = {"mean": stem.mean((0, 1, 2)), "var": stem.var((0, 1, 2))}
    for name, moment in moments.items():
        expected = 0.9 * variables["batch_stats"]["bn1"][name] + 0.1 * moment
        actual = eight[1]["batch_stats"]["bn1"][name]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_group_norm_does_not_couple_examples_and_has_no_statistics(draw):
    net = ResNet(**TINY, norm="group")
    x = images()
    variables = draw(net, x)
    assert set(variables) == {"params"}
    apply = jax.jit(lambda x: net.apply(variables, x, train=True))
    np.testing.assert_array_equal(apply(x)[0], apply(x.at[1:].mul(5.0))[0])


def test_bfloat16_computes_with_float32_parameters(draw):
    x, half = images(), ResNet(**TINY, dtype=jnp.bfloat16)
    variables = draw(half, x)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    exact, rounded = (jax.jit(net.apply)(variables, x) for net in (ResNet(**TINY), half))
    assert rounded.dtype == jnp.float32
    levels = jax.eval_shape(lambda: half.apply(variables, x, method="levels"))
    assert levels[0].dtype == jnp.bfloat16
    assert np.abs(rounded - exact).mean() < 0.02 * np.abs(exact).mean()


def test_an_unknown_norm_is_an_error_at_construction():
    with pytest.raises(ValueError, match="norm: found 'layer'; expected one of batch, group"):
        ResNet(norm="layer")


def test_a_stride_in_the_first_convolution_skips_every_other_pixel():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 12)).astype(np.float32)
    first = Bottleneck(4, 2, "group", jnp.float32, stride_in="1x1")
    variables = jax.jit(first.init, static_argnums=2)(jax.random.key(0), x, False)
    third = Bottleneck(4, 2, "group", jnp.float32)
    plain = Bottleneck(4, 1, "group", jnp.float32)
    expected = plain.apply(variables, x[:, ::2, ::2], False)
    np.testing.assert_allclose(first.apply(variables, x, False), expected, atol=1e-5)
    ones = jax.tree.map(jnp.ones_like, variables)
    assert not np.allclose(first.apply(ones, x, False), third.apply(ones, x, False))


def test_the_stride_of_a_network_reaches_its_blocks():
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    networks = [resnet50(stages=(1, 1), width=8, stride_in=s) for s in ("3x3", "1x1")]
    variables = jax.jit(networks[0].init)(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)
    outputs = [network.apply(variables, x) for network in networks]
    assert outputs[0].shape == outputs[1].shape
    assert not np.allclose(*outputs)
    with pytest.raises(ValueError, match="stride_in: found 1x1 in a network without bottlenecks"):
        resnet18(stride_in="1x1")
