import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from ssl_jax.devices.mesh import make_data_mesh
from ssl_jax.models.layers.activations import gelu

X = np.linspace(-9, 9, 1001)


def test_gelu_and_its_derivative_are_exact():
    cumulative = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in X])
    density = np.exp(-0.5 * X**2) / math.sqrt(2 * math.pi)
    value, slope = jax.vmap(jax.value_and_grad(gelu))(jnp.asarray(X, jnp.float32))
    np.testing.assert_allclose(value, X * cumulative, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(slope, cumulative + X * density, rtol=1e-6, atol=1e-6)


def test_gelu_keeps_the_dtype():
    assert gelu(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16
    assert jax.grad(lambda x: gelu(x).sum())(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16


def test_gelu_is_differentiable_in_shard_map_with_checked_varying_axes():
    def slope(x):
        return jax.grad(lambda x: jax.lax.pmean(gelu(x).sum(), "data"))(x)

    mapped = jax.shard_map(slope, mesh=make_data_mesh(), in_specs=P("data"), out_specs=P("data"))
    x = jnp.linspace(-3, 3, 16)
    np.testing.assert_allclose(jax.jit(mapped)(x), jax.vmap(jax.grad(gelu))(x) / 8, rtol=1e-6)
