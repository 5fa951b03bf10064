import functools
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ssl_jax.devices.mesh import make_data_mesh
from ssl_jax.models.layers.attention import dot_product_attention
from ssl_jax.models.vit import ViT


def draw(tokens, dtype=jnp.float32, batch=2, heads=2, dim=8):
    keys = jax.random.split(jax.random.key(tokens), 3)
    return tuple(jax.random.normal(key, (batch, tokens, heads, dim), dtype) for key in keys)


def in_float64(query, key, value):
    """The definition, in NumPy."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    logits = np.einsum("bthd,bshd->bhts", query, key) / np.sqrt(query.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), value)


def define(query, key, value):
    """The definition, which JAX differentiates."""
    logits = jnp.einsum("bthd,bshd->bhts", query, key) / np.sqrt(query.shape[-1])
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(logits), value)


@functools.cache
def with_gradients(implementation):
    attend = define
    if implementation != "definition":
        attend = functools.partial(dot_product_attention, implementation=implementation)

    def weighted(query, key, value):
        out = attend(query, key, value).astype(jnp.float32)
        return jnp.sum(out * jnp.cos(jnp.arange(out.size).reshape(out.shape))), out

    return jax.jit(jax.grad(weighted, argnums=(0, 1, 2), has_aux=True))


@pytest.mark.parametrize("implementation", ["xla", "blockwise", "auto"])
@pytest.mark.parametrize("tokens", [5, 256, 1300])
def test_all_implementations_are_the_definition(implementation, tokens):
    arrays = draw(tokens)
    gradients, out = with_gradients(implementation)(*arrays)
    np.testing.assert_allclose(out, in_float64(*arrays), atol=1e-5)
    for own, expected in zip(gradients, with_gradients("definition")(*arrays)[0], strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-5)


def test_no_weights_are_kept_for_the_backward_pass():
    arrays = draw(200)
    _, backward = jax.vjp(functools.partial(dot_product_attention, implementation="xla"), *arrays)
    assert sum(leaf.size for leaf in jax.tree.leaves(backward)) <= 3 * arrays[0].size


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_gradients_of_keys_and_values_are_accumulated_in_float32(dtype):
    """Sums of a dozen blocks in the short dtype have 1.7 to 2.3 times the error of one product."""
    arrays = draw(3000, dtype)
    exact = with_gradients("xla")(*(x.astype(jnp.float32) for x in arrays))[0]
    for which in (1, 2):
        error = {
            implementation: np.abs(
                with_gradients(implementation)(*arrays)[0][which].astype(np.float32) - exact[which]
            ).mean()
            for implementation in ("xla", "blockwise")
        }
        assert error["blockwise"] <= 1.6 * error["xla"]


def test_memory_of_long_sequences_is_linear_in_tokens():
    def working_memory(implementation, tokens):
        compiled = with_gradients(implementation).lower(*draw(tokens)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert working_memory("auto", 4096) < 2.2 * working_memory("auto", 2048)
    assert working_memory("xla", 4096) > 3.5 * working_memory("xla", 2048)
    assert working_memory("auto", 4096) < working_memory("xla", 4096) / 5


def test_a_vit_sees_long_sequences_as_short_ones_do():
    """An image of 1296 patches, by the matrix of weights and in blocks."""
    image = jax.random.normal(jax.random.key(0), (1, 144, 144, 2))
    networks = [
        ViT(dim=16, depth=1, heads=2, patch_size=4, image_size=144, attention=name)
        for name in ("xla", "auto")
    ]
    variables = jax.jit(networks[0].init)(jax.random.key(1), image)
    plain, blockwise = (jax.jit(network.apply)(variables, image) for network in networks)
    np.testing.assert_allclose(plain, blockwise, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("tokens", [57, 226])
def test_cudnn_is_called_forward_and_backward_on_each_device(tokens, dtype):
    """As lowered for a GPU, which need not be there; 57 tokens are those an MAE encoder sees."""

    def step(kernel, tokens):
        def loss(kernel):
            kernel = jax.lax.pcast(kernel, "data", to="varying").astype(dtype)
            query, key, value = jnp.moveaxis((tokens @ kernel).reshape(2, -1, 3, 4, 16), 2, 0)
            out = dot_product_attention(query, key, value, "cudnn")
            assert out.shape == query.shape
            return jax.lax.pmean(jnp.sum(out, dtype=jnp.float32), "data")

        return jax.grad(loss)(kernel)

    specs = {"in_specs": (P(), P("data")), "out_specs": P()}
    mapped = jax.jit(jax.shard_map(step, mesh=make_data_mesh(), **specs))
    arrays = (
        jax.ShapeDtypeStruct((64, 192), jnp.float32),
        jax.ShapeDtypeStruct((16, tokens, 64), dtype),
    )
    module = "jax._src.cudnn.fused_attention_stablehlo"
    with (
        mock.patch(f"{module}.check_cudnn_version", return_value=91000),
        mock.patch(f"{module}.check_compute_capability", return_value=True),
        mock.patch(f"{module}.is_cuda_compute_capability_equal", return_value=False),
    ):
        text = mapped.trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()
    calls = set(re.findall(r"custom_call @(__cudnn[$\w]+)", text))
    assert calls == {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"}
    masks = set(re.findall(r"mask_type\\22: \\22(\w+)", text))
    assert masks == {"PADDING" if tokens % 2 else "NO_MASK"}
