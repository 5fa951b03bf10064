"""The masked autoencoder against transformers' `ViTMAEForPreTraining`; with --full, of ViT-B."""

import functools

import jax
import numpy as np
import pytest
import torch
from relative_error import assert_agreement
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from ssl_jax.augment import Augmentation, Normalisation
from ssl_jax.models import MaskedAutoencoder, ViT
from ssl_jax.objectives import MAE
from ssl_jax.weights.transformers import from_torch

SMALL = ({"dim": 48, "depth": 3, "heads": 4}, {"dim": 32, "depth": 2, "heads": 2})
VIT_B = ({"dim": 768, "depth": 12, "heads": 12}, {"dim": 512, "depth": 8, "heads": 16})


@pytest.mark.parametrize("norm_pix_loss", [True, False], ids=["norm_pix_loss", "pixels"])
@pytest.mark.parametrize(
    ("size", "patch", "bands", "network"),
    [
        pytest.param(120, 8, 4, SMALL, id="small"),
        pytest.param(224, 16, 3, VIT_B, id="ViT-B, 224 px", marks=pytest.mark.full),
        pytest.param(120, 8, 4, VIT_B, id="ViT-B, 120 px", marks=pytest.mark.full),
    ],
)
def test_mae_is_that_of_transformers(size, patch, bands, network, norm_pix_loss):
    reference = make_transformers_mae(size, patch, bands, *map(make_hashable, network))
    encoder, decoder = network
    backbone = ViT(patch_size=patch, image_size=size, **encoder)
    objective = MAE(
        MaskedAutoencoder(backbone, channels=bands, **decoder),
        Augmentation.evaluation(size),
        Normalisation((1e-4,) * bands, (0.0,) * bands, (5000.0,) * bands, (3000.0,) * bands),
        norm_pix_loss=norm_pix_loss,
    )
    shape = (2, size, size, bands)
    image = np.random.default_rng(0).integers(0, 10_000, shape).astype(np.uint16)
    weights = {name: p.detach().numpy() for name, p in reference.named_parameters()}
    ours, image, noise = run_step(objective, from_torch(weights)["params"], image)
    theirs = run_transformers_step(reference, image, noise, norm_pix_loss)
    target = "normalised pixels" if norm_pix_loss else "pixels"
    for part in ours:
        case = f"MAE of {encoder['dim']}, {size} px, patch {patch}, {bands} bands, {target}: {part}"
        assert_agreement(case, ours[part], theirs[part], 1e-5)


def run_step(objective, params, image):
    """Return outputs and gradients of the loss, and the inputs of the network: images, noise."""
    batch = {"image": image, "index": np.arange(len(image))}
    key = jax.random.key(0)

    @jax.jit
    def step(params):
        def loss(params):
            return objective.loss({"params": params, "batch_stats": {}}, batch, key)[0]

        value, gradients = jax.value_and_grad(loss)(params)
        view = objective._make_evaluation_view(image)
        noise = objective._draw_noise(jax.random.split(key)[1], batch["index"], view)
        output = objective.model.apply({"params": params}, view, noise, method="reconstruct")
        outputs = {name: getattr(output, name) for name in ("latent", "prediction", "mask")}
        return {"outputs": {"loss": value} | outputs, "gradients": gradients}, view, noise

    return step(params)


def run_transformers_step(model, image, noise, norm_pix_loss):
    """Return the outputs and gradients of transformers."""
    model.zero_grad()
    model.config.norm_pix_loss = norm_pix_loss
    image, noise = (torch.tensor(np.array(x)) for x in (image, noise))
    image = image.permute(0, 3, 1, 2)
    output = model(image, noise=noise)
    output.loss.backward()
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.requires_grad}
    outputs = {
        "loss": output.loss.detach(),
        "latent": model.vit(image, noise=noise).last_hidden_state.detach(),
        "prediction": output.logits.detach(),
        "mask": output.mask,
    }
    return {"outputs": outputs, "gradients": from_torch(gradients)["params"]}


def make_hashable(sizes):
    return tuple(sizes.items())


@functools.cache
def make_transformers_mae(size, patch, bands, encoder, decoder):
    """Create a model with weights as after training: biases and scales are random."""
    torch.manual_seed(0)
    sizes = {"image_size": size, "patch_size": patch, "num_channels": bands}
    for prefix, network in (("", dict(encoder)), ("decoder_", dict(decoder))):
        sizes[f"{prefix}hidden_size"] = network["dim"]
        sizes[f"{prefix}num_hidden_layers"] = network["depth"]
        sizes[f"{prefix}num_attention_heads"] = network["heads"]
        sizes[f"{prefix}intermediate_size"] = 4 * network["dim"]
    model = ViTMAEForPreTraining(ViTMAEConfig(**sizes, layer_norm_eps=1e-6)).eval()
    embeddings = model.vit.embeddings
    # Otherwise the position embeddings stay zero, as if they were still to be loaded.
    embeddings.patch_embeddings.projection._is_hf_initialized = False
    embeddings.initialize_weights()
    model.decoder.initialize_weights(embeddings.patch_embeddings.num_patches)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model
