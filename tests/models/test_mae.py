import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models import MaskedAutoencoder, ViT, patchify

BACKBONE = ViT(dim=16, depth=2, heads=2, patch_size=4, image_size=20)
MODEL = MaskedAutoencoder(BACKBONE, channels=3, dim=8, depth=1, heads=2)


@pytest.fixture(scope="module")
def image():
    return jax.random.normal(jax.random.key(1), (2, 20, 20, 3))


@pytest.fixture(scope="module")
def noise():
    return jax.random.uniform(jax.random.key(2), (2, 25))


@pytest.fixture(scope="module")
def variables(draw, image, noise):
    return draw(MODEL, image, noise)


reconstruct = jax.jit(
    lambda v, image, noise, ratio: MODEL.apply(v, image, noise, ratio, method="reconstruct"),
    static_argnums=3,
)


@pytest.mark.parametrize(("ratio", "visible"), [(0.75, 6), (0.5, 12), (0.9, 2)])
def test_the_patches_with_the_least_noise_stay_visible(variables, image, noise, ratio, visible):
    latent, prediction, mask, ids_restore = reconstruct(variables, image, noise, ratio)
    assert latent.shape == (2, 1 + visible, 16)
    assert prediction.shape == (2, 25, 4 * 4 * 3)
    ranks = np.asarray(noise).argsort(1).argsort(1)
    np.testing.assert_array_equal(ids_restore, ranks)
    np.testing.assert_array_equal(mask, ranks >= visible)


def test_hidden_pixels_never_influence_the_prediction(variables, image, noise):
    result = reconstruct(variables, image, noise, 0.75)
    hidden = np.kron(np.asarray(result.mask).reshape(2, 5, 5), np.ones((4, 4)))[..., None] > 0
    other = reconstruct(variables, jnp.where(hidden, 99.0, image), noise, 0.75)
    np.testing.assert_array_equal(other.prediction, result.prediction)
    seen = reconstruct(variables, jnp.where(hidden, image, 99.0), noise, 0.75)
    assert np.abs(seen.prediction - result.prediction).max() > 0.1


def test_the_order_of_the_noise_among_visible_or_hidden_patches_is_irrelevant(
    variables, image, noise
):
    result = reconstruct(variables, image, noise, 0.75)
    other_ranks = result.mask - 0.5 * noise  # the same patches hidden, in another order
    again = reconstruct(variables, image, other_ranks, 0.75)
    np.testing.assert_array_equal(again.mask, result.mask)
    assert (again.ids_restore != result.ids_restore).any()
    np.testing.assert_allclose(again.prediction, result.prediction, atol=1e-5)


def test_the_encoder_learns_from_every_visible_patch_and_the_decoder_knows_positions(
    variables, image, noise
):
    def hidden_error(image):
        result = MODEL.apply(variables, image, noise, method="reconstruct")
        return (jnp.square(result.prediction).sum(-1) * result.mask).sum()

    gradient = patchify(jax.jit(jax.grad(hidden_error))(image), 4)
    mask = np.asarray(reconstruct(variables, image, noise, 0.75).mask)
    np.testing.assert_array_equal(np.abs(gradient).max(-1) == 0, mask == 1)
    prediction = reconstruct(variables, image, noise, 0.75).prediction[0][mask[0] == 1]
    assert np.abs(prediction - prediction[0]).max(-1)[1:].min() > 1e-3


def test_calling_the_model_returns_prediction_and_mask(variables, image, noise):
    training = jax.jit(lambda v: MODEL.apply(v, image, noise, 0.75, train=True))
    prediction, mask = training(variables)
    result = reconstruct(variables, image, noise, 0.75)
    np.testing.assert_allclose(prediction, result.prediction, atol=1e-5)
    np.testing.assert_array_equal(mask, result.mask)


def test_the_backbone_has_the_parameters_of_a_separate_vit(variables, image):
    own = jax.eval_shape(lambda: BACKBONE.init(jax.random.key(0), image))["params"]
    assert set(variables["params"]) == {"backbone", "decoder"}
    backbone = variables["params"]["backbone"]
    assert jax.tree.map(jnp.shape, backbone) == jax.tree.map(jnp.shape, own)


def test_inputs_of_wrong_shapes_are_errors(image, noise):
    def shapes(image, noise, ratio=0.75):
        return jax.eval_shape(lambda: MODEL.init(jax.random.key(0), image, noise, ratio))

    with pytest.raises(ValueError, match="image: found 2 bands; expected 3"):
        shapes(image[..., :2], noise)
    with pytest.raises(ValueError, match=r"noise: found shape \(2, 24\); expected \(2, 25\)"):
        shapes(image, noise[:, 1:])
    with pytest.raises(
        ValueError, match=r"mask_ratio: found 0.99, which leaves 0 of 25 patches visible"
    ):
        shapes(image, noise, 0.99)
