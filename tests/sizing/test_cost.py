"""What a jaxpr costs, against what can be counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from ssl_jax.sizing.cost import count_bytes, count_flops, estimate_peak_bytes


def jaxpr_of(function, *shapes):
    return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).jaxpr


def operations(function, *shapes):
    return count_flops(jaxpr_of(function, *shapes), lambda scope: "").total()


def convolution(image, kernel):
    return jax.lax.conv_general_dilated(
        image, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_a_product_takes_two_operations_a_multiply_add():
    assert operations(lambda a, b: jnp.tanh(a @ b), (3, 4), (4, 5)) == 2 * 3 * 4 * 5


def test_both_gradients_of_a_strided_convolution_cost_what_it_costs():
    shapes = (1, 8, 8, 3), (3, 3, 3, 5)
    once = 2 * 4 * 4 * 5 * 3 * 3 * 3
    assert operations(convolution, *shapes) == once
    for argument in (0, 1):
        gradient = jax.grad(lambda *x: jnp.sum(jnp.square(convolution(*x))), argument)
        assert operations(gradient, *shapes) == 2 * once


def test_loops_count_every_turn_and_branches_the_dearest():
    def loop(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=7)[0]

    def branch(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x @ w @ w)

    once = 2 * 3 * 4 * 4
    assert operations(loop, (3, 4), (4, 4)) == 7 * once
    assert operations(branch, (3, 4), (4, 4)) == 2 * once


def test_operations_are_told_by_the_scope_they_are_done_in():
    def f(x):
        with jax.named_scope("inner"):
            x = x @ x
        return jnp.sum(x @ x @ x)

    found = count_flops(
        jaxpr_of(jax.grad(f), (4, 4)), lambda scope: ("inner" in scope, "transpose" in scope)
    )
    once = 2 * 4**3
    assert found == {
        (True, False): once,
        (False, False): 2 * once,
        (True, True): 2 * once,
        (False, True): 4 * once,
    }


def test_memory_is_what_is_alive_at_once():
    def chain(x, w):
        for _ in range(5):
            x = x @ w
        return jnp.sum(x)

    shapes = (64, 64), (64, 64)
    array = 4 * 64 * 64
    assert estimate_peak_bytes(jaxpr_of(chain, *shapes), fused=False) == 2 * array
    # For the gradient, four products are kept and two gradients on their way.
    kept = estimate_peak_bytes(jaxpr_of(jax.grad(chain, 1), *shapes), fused=False)
    assert 4 * array < kept <= 8 * array


def test_fused_arithmetic_takes_no_memory():
    def f(x, w):
        return jnp.sum(jnp.exp(jnp.sin(x @ w) + 1.0) @ w)

    shapes = (64, 64), (64, 64)
    assert estimate_peak_bytes(jaxpr_of(f, *shapes), fused=True) == pytest.approx(
        2 * 4 * 64**2, rel=1e-3
    )
    assert estimate_peak_bytes(jaxpr_of(f, *shapes), fused=False) >= 2 * 4 * 64**2


def test_recomputation_saves_memory():
    def f(x, w):
        for _ in range(8):
            x = jnp.sin(x @ w)
        return x

    def gradient(function):
        return jaxpr_of(jax.grad(lambda x, w: jnp.sum(function(x, w)), 1), (64, 64), (64, 64))

    again = lambda x, w: jax.checkpoint(f)(jax.checkpoint(f)(x, w), w)  # noqa: E731
    twice = lambda x, w: f(f(x, w), w)  # noqa: E731
    assert estimate_peak_bytes(gradient(again), False) < 0.7 * estimate_peak_bytes(
        gradient(twice), False
    )


def test_bytes_of_shapes():
    assert count_bytes({"a": jax.ShapeDtypeStruct((3, 4), jnp.bfloat16), "b": jnp.zeros(2)}) == 32
