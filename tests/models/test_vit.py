import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models import ViT, vit_b, vit_s, vit_ti
from ssl_jax.models.vit import Attention, Block

TINY = functools.partial(ViT, dim=16, depth=3, heads=2, patch_size=4, image_size=12)


def images(n=2, height=12, width=12, bands=4):
    return jax.random.normal(jax.random.key(1), (n, height, width, bands))


def apply(net, variables, x, *rest, method="__call__"):
    return jax.jit(lambda v, x: net.apply(v, x, *rest, method=method))(variables, x)


def shapes(net, x, **options):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), x, **options))


@pytest.mark.parametrize(
    ("constructor", "parameters"),
    # timm's without head and position table.
    [(vit_b, 85_647_360), (vit_s, 21_590_016), (vit_ti, 5_486_592)],
)
def test_sizes_are_those_of_timm(constructor, parameters):
    net = constructor(patch_size=16, image_size=224)
    variables = shapes(net, jnp.zeros((1, 224, 224, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters


def test_parameters_are_named_as_in_timm():
    params = shapes(TINY(), images())["params"]
    assert set(params) == {"patch_embed", "cls_token", "norm"} | {f"blocks_{i}" for i in range(3)}
    assert set(params["blocks_0"]) == {"norm1", "attn", "norm2", "mlp"}
    assert set(params["blocks_0"]["attn"]) == {"qkv", "proj"}
    assert set(params["blocks_0"]["mlp"]) == {"fc1", "fc2"}
    assert params["blocks_0"]["attn"]["qkv"]["kernel"].shape == (16, 48)
    learned = shapes(TINY(position="learned"), images())["params"]
    assert set(learned) - set(params) == {"pos_embed"}
    assert learned["pos_embed"].shape == (1, 10, 16)


def test_every_method_and_pool_has_the_same_parameters():
    variables = [
        shapes(TINY(pool=pool), images(), method=method)
        for pool in ("cls", "mean")
        for method in ("__call__", "encode", "levels")
    ]
    assert all(other == variables[0] for other in variables)


def test_the_fused_qkv_starts_as_one_xavier_matrix():
    attention = Attention(heads=2, implementation="auto", dtype=jnp.float32)
    params = jax.jit(attention.init)(jax.random.key(0), jnp.zeros((1, 3, 64)))["params"]
    kernel = params["qkv"]["kernel"]
    bound = (6 / (64 + 3 * 64)) ** 0.5
    assert 0.99 * bound < np.abs(kernel).max() <= bound


def test_pooling_takes_the_class_token_or_the_mean_of_the_patches(draw):
    net, x = TINY(), images()
    variables = draw(net, x)

    @jax.jit
    def pooled(variables):
        tokens = net.apply(variables, x, method="encode")
        level = net.apply(variables, x, method="levels")[-1]
        mean_pool = TINY(pool="mean").apply(variables, x)
        return tokens, level, net.apply(variables, x), mean_pool

    tokens, level, cls_pool, mean_pool = map(np.asarray, pooled(variables))
    np.testing.assert_allclose(cls_pool, tokens[:, 0], atol=1e-5)
    mean = level.mean((1, 2))
    norm = variables["params"]["norm"]
    standardised = (mean - mean.mean(-1, keepdims=True)) / mean.std(-1, keepdims=True)
    expected = standardised * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(mean_pool, expected, atol=1e-4)


def test_only_the_kept_patches_influence_the_tokens(draw):
    net, x = TINY(), images()
    variables = draw(net, x)
    keep = jnp.array([[7, 0, 4], [2, 1, 8]])
    encode = jax.jit(lambda x, keep: net.apply(variables, x, keep, method="encode"))
    tokens = encode(x, keep)
    assert tokens.shape == (2, 4, 16)
    hidden = x.at[0, 4:8, 8:].set(99.0).at[1, :4, :4].set(99.0)  # patches 5 and 0
    np.testing.assert_array_equal(encode(hidden, keep), tokens)
    seen = x.at[0, 8:, 4:8].set(99.0)  # patch 7
    assert np.abs(encode(seen, keep)[0] - tokens[0]).max() > 0.1
    np.testing.assert_allclose(
        encode(x, keep[:, ::-1])[:, 1:], tokens[:, :0:-1], atol=1e-5
    )  # a set of patches, each with its position


def test_keeping_all_patches_equals_no_selection(draw):
    net, x = TINY(), images()
    variables = draw(net, x)
    every = jnp.broadcast_to(jnp.arange(9), (2, 9))
    np.testing.assert_allclose(
        apply(net, variables, x, every, method="encode"),
        apply(net, variables, x, method="encode"),
        atol=1e-5,
    )


@pytest.mark.parametrize(("depth", "blocks"), [(12, (3, 5, 7, 11)), (4, (0, 1, 2, 3))])
def test_levels_are_taken_after_a_third_a_half_two_thirds_and_all_blocks(draw, depth, blocks):
    net, x = ViT(dim=8, depth=depth, heads=2, patch_size=4, image_size=8), images(1, 8, 12)
    levels, state = jax.jit(
        functools.partial(
            net.apply,
            method="levels",
            capture_intermediates=lambda module, _: isinstance(module, Block),
            mutable=["intermediates"],
        )
    )(draw(net, x), x)
    for level, i in zip(levels, blocks, strict=True):
        tokens = state["intermediates"][f"blocks_{i}"]["__call__"][0]
        np.testing.assert_allclose(level, tokens[:, 1:].reshape(1, 2, 3, 8), atol=1e-5)


@pytest.mark.parametrize("position", ["sincos", "learned"])
def test_images_of_other_sizes_have_the_same_parameters(draw, position):
    net = TINY(position=position)
    other = images(height=20, width=8)
    assert shapes(net, other) == shapes(net, images())
    assert np.isfinite(apply(net, draw(net, images()), other)).all()


def test_invalid_sizes_are_errors():
    with pytest.raises(ValueError, match="image_size: found 120; expected a multiple of patch"):
        vit_b(patch_size=16)
    with pytest.raises(ValueError, match="dim: found 16; expected a multiple of heads"):
        TINY(heads=3)
    with pytest.raises(ValueError, match="pool: found 'max'"):
        TINY(pool="max")
    with pytest.raises(ValueError, match="expected multiples of patch_size 4"):
        shapes(TINY(), images(height=13))


def test_drop_path_drops_the_whole_branch_of_an_example(draw):
    block = Block(heads=2, drop_path=0.5, attention="auto", dtype=jnp.float32)
    tokens = jax.random.normal(jax.random.key(1), (32, 5, 16))
    params = draw(block, tokens)
    keys = jax.random.split(jax.random.key(2), 32)
    change = np.abs(apply(block, params, tokens, keys) - tokens)
    untouched = (change == 0).all((1, 2))
    assert 0 < untouched.sum() < 20  # a quarter of them, both branches being dropped
    assert (change[~untouched] > 0).mean() > 0.99
    assert (np.abs(apply(block, params, tokens) - tokens) > 0).mean() > 0.99


def test_the_first_block_is_never_dropped(draw):
    net, x = TINY(depth=1, drop_path=0.9), images()
    variables = draw(net, x)
    keys = jax.random.split(jax.random.key(0), len(x))
    np.testing.assert_array_equal(apply(net, variables, x, True, keys), apply(net, variables, x))


def test_bfloat16_computes_with_float32_parameters(draw):
    x, half = images(), TINY(dtype=jnp.bfloat16)
    variables = draw(half, x)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    rounded = apply(half, variables, x)
    assert rounded.dtype == jnp.float32
    levels = jax.eval_shape(lambda: half.apply(variables, x, method="levels"))
    assert levels[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded, apply(TINY(), variables, x), atol=0.1)
