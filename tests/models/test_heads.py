import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.models import MLP, ImageStatistics, Projection


def test_projection_has_no_bias_and_its_last_norm_no_shift():
    net, x = Projection(hidden=12, out=8), jnp.ones((2, 6))
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), x))["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "fc1": {"kernel": (6, 12)},
        "bn1": {"scale": (12,), "bias": (12,)},
        "fc2": {"kernel": (12, 8)},
        "bn2": {"scale": (8,)},
    }


def test_projection_has_the_given_number_of_layers_and_no_relu_after_the_last():
    net, x = Projection(hidden=12, out=8, layers=3), jax.random.normal(jax.random.key(1), (4, 6))
    output, variables = net.init_with_output(jax.random.key(0), x)
    assert output.shape == (4, 8)
    assert set(variables["params"]) == {f"{kind}{i}" for kind in ("fc", "bn") for i in (1, 2, 3)}
    assert (output < 0).any()


def test_group_norm_does_not_couple_examples(draw):
    net, x = Projection(hidden=32, out=16, norm="group"), jnp.linspace(-1, 1, 24).reshape(4, 6)
    variables = draw(net, x)
    assert set(variables) == {"params"}
    training = jax.jit(lambda x: net.apply(variables, x, train=True))
    np.testing.assert_allclose(training(x)[:1], training(x[:1]), atol=1e-5)


def test_an_mlp_without_hidden_layers_is_a_linear_probe():
    net, x = MLP(num_classes=3), jax.random.normal(jax.random.key(1), (4, 6))
    logits, variables = net.init_with_output(jax.random.key(0), x)
    fc = variables["params"]["fc"]
    assert set(variables["params"]) == {"fc"}
    np.testing.assert_allclose(logits, x @ fc["kernel"] + fc["bias"], atol=1e-6)


def test_the_linear_probe_of_mae_normalises_without_parameters(draw):
    net, x = MLP(num_classes=3, batch_norm=True), jnp.ones((4, 6))
    variables = draw(net, x)
    assert set(variables["params"]) == {"fc"}
    assert set(variables["batch_stats"]) == {"bn"}


def test_dropout_is_applied_if_keys_are_given(draw):
    net, x = MLP(num_classes=3, hidden=(8,), dropout=0.5), jnp.ones((64, 6))
    variables = draw(net, x)
    logits = net.apply(variables, x, keys=jax.random.split(jax.random.key(1), 64))
    assert np.std(logits, axis=0).max() > 0
    assert np.std(net.apply(variables, x), axis=0).max() < 1e-5


def test_logits_are_float32_for_any_dtype():
    net, x = MLP(num_classes=3, hidden=(8,), dtype=jnp.bfloat16), jnp.ones((2, 6))
    logits, variables = net.init_with_output(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, variables))} == {np.dtype("float32")}


def test_image_statistics_are_those_of_each_band_and_need_no_parameters():
    image = np.random.default_rng(0).normal(size=(3, 5, 7, 4)).astype(np.float32)
    output, variables = ImageStatistics().init_with_output(jax.random.key(0), image)
    assert not jax.tree.leaves(variables)
    pixels = image.reshape(3, -1, 4)
    expected = [pixels.mean(1), pixels.std(1), pixels.min(1), pixels.max(1)]
    np.testing.assert_allclose(output, np.concatenate(expected, axis=1), atol=1e-6)
