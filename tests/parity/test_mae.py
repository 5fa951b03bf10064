"""The masked autoencoder against transformers' `ViTMAEForPreTraining`, at the size of ViT-B."""

import functools

import jax
import numpy as np
import pytest
import torch
from parity.deviation import expect_agreement
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from ssl_jax.augment import Augmentation, Normalisation
from ssl_jax.models import MaskedAutoencoder, vit_b
from ssl_jax.objectives import MAE
from ssl_jax.weights.transformers import from_torch

TOLERANCE = 1e-5
CASES = {"224 px, patch 16, 3 bands": (224, 16, 3), "120 px, patch 8, 4 bands": (120, 8, 4)}


@functools.cache
def reference(size, patch, bands):
    """Weights as training leaves them: no bias at zero, no scale at one."""
    torch.manual_seed(0)
    config = ViTMAEConfig(
        image_size=size, patch_size=patch, num_channels=bands, layer_norm_eps=1e-6
    )
    model = ViTMAEForPreTraining(config).eval()
    embeddings = model.vit.embeddings.patch_embeddings
    embeddings.projection._is_hf_initialized = False  # or the position table stays zero
    model.vit.embeddings.initialize_weights()
    model.decoder.initialize_weights(embeddings.num_patches)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def named(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize("norm_pix_loss", [True, False], ids=["norm_pix_loss", "pixels"])
@pytest.mark.parametrize("case", CASES)
def test_mae_is_transformers_mae(case, norm_pix_loss):
    size, patch, bands = CASES[case]
    theirs = reference(size, patch, bands)
    theirs.config.norm_pix_loss = norm_pix_loss
    variables = from_torch({k: v.detach().numpy() for k, v in theirs.named_parameters()})
    objective = MAE(
        MaskedAutoencoder(vit_b(patch_size=patch, image_size=size), channels=bands),
        Augmentation.evaluation(size),
        Normalisation((1e-4,) * bands, (0.0,) * bands, (5000.0,) * bands, (3000.0,) * bands),
        norm_pix_loss=norm_pix_loss,
    )
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 10_000, (2, size, size, bands)).astype(np.uint16),
        "index": np.arange(2),
    }
    key = jax.random.key(0)

    @jax.jit
    def ours(params):
        def loss(params):
            return objective.loss({"params": params, "batch_stats": {}}, batch, key)

        (value, _), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        image = objective._evaluation_view(batch["image"])
        noise = objective._noise(jax.random.split(key)[1], batch["index"], image)
        result = objective.model.apply({"params": params}, image, noise, method="reconstruct")
        return value, gradients, image, noise, result

    loss, gradients, image, noise, result = ours(variables["params"])
    theirs.zero_grad()
    image, noise = torch.tensor(np.array(image)).permute(0, 3, 1, 2), torch.tensor(np.array(noise))
    output = theirs(image, noise=noise)
    output.loss.backward()
    latent = theirs.vit(image, noise=noise).last_hidden_state
    np.testing.assert_array_equal(result.mask, output.mask)
    case = f"MAE, {case}" + ", norm_pix_loss" * norm_pix_loss
    expect_agreement(
        f"{case}: outputs",
        {"latent": result.latent, "prediction": result.prediction, "loss": loss},
        {
            "latent": latent.detach(),
            "prediction": output.logits.detach(),
            "loss": output.loss.detach(),
        },
        TOLERANCE,
    )
    expected = from_torch(
        {k: v.grad.numpy() for k, v in theirs.named_parameters() if v.requires_grad}
    )
    expect_agreement(f"{case}: gradients", named(gradients), named(expected["params"]), TOLERANCE)
