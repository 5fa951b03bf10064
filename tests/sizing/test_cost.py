"""FLOPs and peak memory of jaxprs, against values counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from ssl_jax.sizing.cost import count_bytes, count_flops, estimate_peak_bytes


def trace(function, *shapes):
    return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).jaxpr


def count_all_flops(function, *shapes):
    return count_flops(trace(function, *shapes), lambda scope: "").total()


def convolution(image, kernel):
    return jax.lax.conv_general_dilated(
        image, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_a_multiply_add_counts_as_two_flops():
    assert count_all_flops(lambda a, b: jnp.tanh(a @ b), (3, 4), (4, 5)) == 2 * 3 * 4 * 5


def test_each_gradient_of_a_strided_convolution_costs_as_much_as_its_forward_pass():
    shapes = (1, 8, 8, 3), (3, 3, 3, 5)
    once = 2 * 4 * 4 * 5 * 3 * 3 * 3
    assert count_all_flops(convolution, *shapes) == once
    for argument in (0, 1):
        gradient = jax.grad(lambda *x: jnp.sum(jnp.square(convolution(*x))), argument)
        assert count_all_flops(gradient, *shapes) == 2 * once


def test_loops_count_all_iterations_and_conditionals_the_most_expensive_branch():
    def loop(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=7)[0]

    def branch(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x @ w @ w)

    once = 2 * 3 * 4 * 4
    assert count_all_flops(loop, (3, 4), (4, 4)) == 7 * once
    assert count_all_flops(branch, (3, 4), (4, 4)) == 2 * once


def test_flops_are_counted_by_scope():
    def f(x):
        with jax.named_scope("inner"):
            x = x @ x
        return jnp.sum(x @ x @ x)

    flops = count_flops(
        trace(jax.grad(f), (4, 4)), lambda scope: ("inner" in scope, "transpose" in scope)
    )
    once = 2 * 4**3
    assert flops == {
        (True, False): once,
        (False, False): 2 * once,
        (True, True): 2 * once,
        (False, True): 4 * once,
    }


def test_peak_memory_is_that_of_the_values_alive_at_a_time():
    def chain(x, w):
        for _ in range(5):
            x = x @ w
        return jnp.sum(x)

    shapes = (64, 64), (64, 64)
    array = 4 * 64 * 64
    assert estimate_peak_bytes(trace(chain, *shapes), fused=False) == 2 * array
    # The backward pass needs four products, and computes two gradients at a time.
    peak = estimate_peak_bytes(trace(jax.grad(chain, 1), *shapes), fused=False)
    assert 4 * array < peak <= 8 * array


def test_fused_arithmetic_takes_no_memory():
    def f(x, w):
        return jnp.sum(jnp.exp(jnp.sin(x @ w) + 1.0) @ w)

    shapes = (64, 64), (64, 64)
    assert estimate_peak_bytes(trace(f, *shapes), fused=True) == pytest.approx(
        2 * 4 * 64**2, rel=1e-3
    )
    assert estimate_peak_bytes(trace(f, *shapes), fused=False) >= 2 * 4 * 64**2


def test_rematerialisation_saves_memory():
    def f(x, w):
        for _ in range(8):
            x = jnp.sin(x @ w)
        return x

    def gradient(function):
        return trace(jax.grad(lambda x, w: jnp.sum(function(x, w)), 1), (64, 64), (64, 64))

    rematerialised = lambda x, w: jax.checkpoint(f)(jax.checkpoint(f)(x, w), w)  # noqa: E731
    stored = lambda x, w: f(f(x, w), w)  # noqa: E731
    assert estimate_peak_bytes(gradient(rematerialised), False) < 0.7 * estimate_peak_bytes(
        gradient(stored), False
    )


def test_bytes_are_counted_for_arrays_and_shapes():
    assert count_bytes({"a": jax.ShapeDtypeStruct((3, 4), jnp.bfloat16), "b": jnp.zeros(2)}) == 32
