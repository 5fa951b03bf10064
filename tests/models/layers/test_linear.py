"""The linear layer: equal to Flax's on a CPU, and itself on other platforms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType
from relative_error import relative_error

from ssl_jax.devices.mesh import REPLICATED, SHARDED, pmap_over_mesh
from ssl_jax.models.layers.linear import Linear

BOTH = pytest.mark.parametrize("features", [4, 40])  # fewer and more than the input's 20


def draw(dtype=jnp.float32):
    return jax.random.normal(jax.random.key(0), (6, 5, 20), dtype)


def initialise(layer):
    variables = layer.init(jax.random.key(1), draw())
    variables["params"]["bias"] += 0.5
    return variables


def compute_loss(layer, variables, x):
    y = layer.apply(variables, x)
    return jnp.sum(jnp.sin(y.astype(jnp.float32))), y


@BOTH
def test_the_layer_and_its_gradients_equal_flaxs(features):
    layers = Linear(features), nn.Dense(features)
    shapes = [jax.tree.map(jnp.shape, initialise(layer)) for layer in layers]
    assert shapes[0] == shapes[1]
    variables = initialise(layers[1])
    own, expected = (
        jax.jit(
            jax.value_and_grad(functools.partial(compute_loss, layer), argnums=(0, 1), has_aux=True)
        )(variables, draw())
        for layer in layers
    )
    for leaf, reference in zip(*map(jax.tree.leaves, (own, expected)), strict=True):
        assert relative_error(leaf, reference) < 1e-5


@BOTH
def test_gradients_are_summed_over_devices(features):
    layer = Linear(features)
    variables = initialise(layer)

    def differentiate(variables, x):
        return jax.grad(
            lambda variables: jax.lax.psum(compute_loss(layer, variables, x)[0], "data")
        )(variables)

    on_two, on_one = (
        pmap_over_mesh(
            differentiate,
            jax.make_mesh((n,), ("data",), (AxisType.Auto,), devices=jax.devices()[:n]),
            (REPLICATED, SHARDED),
            REPLICATED,
        )(variables, draw())
        for n in (2, 1)
    )
    for leaf, reference in zip(*map(jax.tree.leaves, (on_two, on_one)), strict=True):
        assert relative_error(leaf, reference) < 1e-5


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_layer_computes_in_its_dtype(dtype):
    layer = Linear(8, dtype=dtype)
    variables = initialise(layer)
    assert variables["params"]["kernel"].dtype == jnp.float32
    (_, y), gradients = jax.value_and_grad(functools.partial(compute_loss, layer), has_aux=True)(
        variables, draw()
    )
    assert y.dtype == dtype
    assert gradients["params"]["kernel"].dtype == jnp.float32
    assert relative_error(y.astype(jnp.float32), nn.Dense(8).apply(variables, draw())) < 0.01


@pytest.mark.parametrize(("platform", "is_expected"), [("cuda", False), ("cpu", True)])
def test_only_programs_for_cpus_have_a_form_for_cpus(platform, is_expected):
    layer = Linear(8)
    gradient = jax.jit(jax.grad(functools.partial(compute_loss, layer), has_aux=True))
    exported = jax.export.export(gradient, platforms=[platform])(initialise(layer), draw())
    assert ("optimization_barrier" in exported.mlir_module()) == is_expected
