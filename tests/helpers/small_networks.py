"""Small networks, and random variables of them."""

import jax
import numpy as np

from ssl_jax import models

VIT = models.ViT(dim=24, depth=2, heads=2, patch_size=8, image_size=32)
RESNET = models.ResNet(stages=(1, 2, 1, 1), width=8)


def randomise(variables):
    """Replace the leaves of `variables` by random numbers, so that no two are equal."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), variables)


def make_mae_variables():
    model = models.MaskedAutoencoder(VIT, channels=4, dim=16, depth=1, heads=2)
    image, noise = np.zeros((1, 32, 32, 4), np.float32), np.zeros((1, 16), np.float32)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, noise))["params"]
    return randomise({"params": params, "batch_stats": {}})


def make_vit_variables(backbone=VIT, classes=0):
    image = np.zeros((1, 32, 32, 4), np.float32)
    params = jax.eval_shape(lambda: backbone.init(jax.random.key(0), image))["params"]
    variables = {"backbone": params} | _make_head_params(24, classes)
    return randomise({"params": variables, "batch_stats": {}})


def make_resnet_variables(classes=0):
    image = np.zeros((1, 32, 32, 4), np.float32)
    variables = jax.eval_shape(lambda: RESNET.init(jax.random.key(0), image))
    variables = {name: {"backbone": collection} for name, collection in variables.items()}
    variables["params"] |= _make_head_params(RESNET.features, classes)
    return randomise(variables)


def _make_head_params(features, classes):
    head = {"kernel": np.zeros((features, classes)), "bias": np.zeros(classes)}
    return {"head": {"fc": head}} if classes else {}
