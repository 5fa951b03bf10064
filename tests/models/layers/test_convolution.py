"""Convolutions and max pooling: equal to Flax's on the CPU, and themselves on other platforms."""

import functools
import itertools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from relative_error import relative_error

from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmap_over_mesh
from ssl_jax.models.layers.convolution import Convolution, convolve
from ssl_jax.models.layers.pooling import max_pool

# Rows and columns of the images, sides of the kernels, and strides: with outputs from 1 × 1 to
# 7 × 6 pixels, and strides that leave pixels out.
CASES = [
    *itertools.product(((1, 1), (2, 2), (4, 5), (7, 6), (14, 11)), (1, 3), (1, 2)),
    ((14, 11), 7, 2),
]


def make_arrays(size, channels=20, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(0), (3, *size, channels), dtype)


def make_mesh(count):
    return jax.make_mesh((count,), ("data",), (AxisType.Auto,), devices=jax.devices()[:count])


def make_reference(side, stride, **options):
    padding = ((side // 2, side // 2),) * 2
    return nn.Conv(8, (side, side), strides=stride, padding=padding, **options)


@pytest.mark.parametrize(("size", "side", "stride"), CASES)
def test_a_convolution_and_its_gradients_equal_flaxs(size, side, stride):
    x = make_arrays(size)
    layer = Convolution(8, side, stride, use_bias=True)
    reference = make_reference(side, stride)
    variables = reference.init(jax.random.key(1), x)
    variables["params"]["bias"] += 0.5
    shapes = [jax.tree.map(jnp.shape, m.init(jax.random.key(1), x)) for m in (layer, reference)]
    assert shapes[0] == shapes[1]

    def apply(module, variables, x):
        y = module.apply(variables, x)
        return jnp.sum(jnp.sin(y)), y

    for module_gradient, reference_gradient in zip(
        *(
            jax.tree.leaves(
                jax.jit(
                    jax.value_and_grad(functools.partial(apply, m), argnums=(0, 1), has_aux=True)
                )(variables, x)
            )
            for m in (layer, reference)
        ),
        strict=True,
    ):
        assert relative_error(module_gradient, reference_gradient) < 1e-5


@pytest.mark.parametrize(("side", "size"), [(1, (8, 8)), (3, (2, 2)), (3, (8, 8))])
def test_the_gradient_of_a_replicated_kernel_is_summed_over_devices(side, size):
    x = jax.random.normal(jax.random.key(0), (4, *size, 20))
    kernel = jax.random.normal(jax.random.key(1), (side, side, 20, 8))

    def differentiate(x, kernel):
        compute_loss = lambda kernel: jax.lax.psum(  # noqa: E731
            jnp.sum(jnp.sin(convolve(x, kernel, 1, side // 2))), "data"
        )
        return jax.grad(compute_loss)(kernel)

    on_two, on_one = (
        pmap_over_mesh(differentiate, make_mesh(count), (SHARDED, REPLICATED), REPLICATED)
        for count in (2, 1)
    )
    assert relative_error(on_two(x, kernel), on_one(x, kernel)) < 1e-5


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("side", [1, 3])
def test_a_convolution_computes_in_its_dtype(dtype, side):
    x = make_arrays((2, 2))
    layer, reference = Convolution(8, side, dtype=dtype), make_reference(side, 1, use_bias=False)
    variables = layer.init(jax.random.key(1), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    y = layer.apply(variables, x)
    assert y.dtype == dtype
    assert relative_error(y.astype(jnp.float32), reference.apply(variables, x)) < 0.01


@pytest.mark.parametrize("size", [(2, 2), (5, 8), (9, 9)])
def test_max_pooling_and_its_gradient_equal_flaxs(size):
    # Few distinct values, so that windows have several maxima: the first one gets the gradient.
    x = jnp.round(make_arrays(size))
    reference = lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # noqa: E731
    outputs = [jax.vjp(pool, x) for pool in (max_pool, reference)]
    np.testing.assert_array_equal(outputs[0][0], outputs[1][0])
    gradient = jax.random.normal(jax.random.key(1), outputs[0][0].shape)
    np.testing.assert_allclose(*(back(gradient)[0] for _, back in outputs), atol=1e-6)


def lower(function, platform, *arrays):
    return jax.export.export(jax.jit(function), platforms=[platform])(*arrays).mlir_module()


@pytest.mark.parametrize(
    ("platform", "side", "expected"), [("cuda", 1, 3), ("cpu", 1, 0), ("cpu", 3, 3)]
)
def test_programs_for_accelerators_have_no_form_for_cpus(platform, side, expected):
    """The forward pass and two gradients; a slow convolution has another form on CPUs only."""
    x, kernel = make_arrays((14, 14)), jnp.zeros((side, side, 20, 8))

    def train(x, kernel):
        loss = lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel, 1, side // 2)))  # noqa: E731
        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    text = lower(train, platform, x, kernel)
    assert len(re.findall(r"stablehlo\.convolution", text)) == expected
    assert len(re.findall(r"stablehlo\.dot_general", text)) == 3 - expected


@pytest.mark.parametrize(("platform", "expected"), [("cuda", 1), ("cpu", 0)])
def test_the_gradient_of_max_pooling_has_another_form_on_cpus_only(platform, expected):
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(max_pool(x))))
    text = lower(gradient, platform, make_arrays((8, 8)))
    assert len(re.findall("stablehlo.select_and_scatter", text)) == expected


def test_the_backward_pass_keeps_no_patches():
    """What is kept are the arguments: patches of a 3 × 3 kernel would be nine times the images."""
    x, kernel = make_arrays((4, 4)), jnp.zeros((3, 3, 20, 8))
    _, backward = jax.vjp(lambda x, kernel: convolve(x, kernel, 1, 1), x, kernel)
    kept = sum(leaf.size for leaf in jax.tree.leaves(backward) if hasattr(leaf, "size"))
    assert kept <= x.size + kernel.size
