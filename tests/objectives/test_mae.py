import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.models import patchify


@pytest.mark.parametrize("norm_pix_loss", [True, False])
def test_the_loss_is_the_mean_squared_error_over_hidden_patches(lab, norm_pix_loss):
    objective, batch = (
        lab.make_objective("mae", norm_pix_loss=norm_pix_loss, mask_ratio=0.5),
        lab.draw_batch(3),
    )
    image = np.asarray(lab.normalise(jnp.asarray(batch["image"])), np.float64)
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=(3, 4, 64)).astype(np.float32)
    hidden = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1]], np.float32)
    losses = []
    for i in range(3):
        target = []
        for row, column in np.ndindex(2, 2):
            patch = image[i, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(-1)
            if norm_pix_loss:
                patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
            target.append(patch)
        errors = ((prediction[i] - np.array(target)) ** 2).mean(1)
        losses.append(errors[hidden[i] == 1].mean())
    ours = objective._reconstruction_error(jnp.asarray(image, jnp.float32), prediction, hidden)
    np.testing.assert_allclose(ours, losses, rtol=1e-5)


def test_noise_depends_on_the_index_of_the_example(lab):
    objective, key = lab.make_objective("mae"), jax.random.key(0)
    image = jnp.zeros((2, 8, 8, 4))
    first = objective._draw_noise(key, jnp.array([3, 7]), image)
    second = objective._draw_noise(key, jnp.array([7, 9]), image)
    np.testing.assert_array_equal(first[1], second[0])
    assert np.abs(first[0] - first[1]).max() > 0


def test_reconstructions_contain_visible_patches_unchanged(lab):
    objective, batch = lab.make_objective("mae"), lab.draw_batch()
    variables = lab.init(objective, batch)
    samples = objective.make_samples(variables, batch, jax.random.key(0))
    image, masked, filled = (samples[k] for k in ("image", "masked", "reconstruction"))
    np.testing.assert_allclose(image, lab.normalise.unit(jnp.asarray(batch["image"])), atol=1e-5)
    same = patchify(np.abs(image - filled), 4).max(-1) < 1e-5
    visible = patchify(np.abs(image - masked), 4).max(-1) < 1e-5
    np.testing.assert_array_equal(visible.sum(1), 1)  # a quarter of four patches
    np.testing.assert_array_equal(same, visible)
