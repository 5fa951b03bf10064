"""Variables of small networks, every leaf of them different."""

import jax
import numpy as np

from ssl_jax import models

VIT = models.ViT(dim=24, depth=2, heads=2, patch_size=8, image_size=32)
RESNET = models.ResNet(stages=(1, 2, 1, 1), width=8)


def different(variables):
    """`variables` with leaves of random numbers in place of zeros and ones."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), variables)


def mae_variables():
    model = models.MaskedAutoencoder(VIT, channels=4, dim=16, depth=1, heads=2)
    image, noise = np.zeros((1, 32, 32, 4), np.float32), np.zeros((1, 16), np.float32)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, noise))["params"]
    return different({"params": params, "batch_stats": {}})


def vit_variables(backbone=VIT, classes=0):
    image = np.zeros((1, 32, 32, 4), np.float32)
    params = jax.eval_shape(lambda: backbone.init(jax.random.key(0), image))["params"]
    tree = {"backbone": params} | _head(24, classes)
    return different({"params": tree, "batch_stats": {}})


def resnet_variables(classes=0):
    image = np.zeros((1, 32, 32, 4), np.float32)
    tree = jax.eval_shape(lambda: RESNET.init(jax.random.key(0), image))
    tree = {name: {"backbone": collection} for name, collection in tree.items()}
    tree["params"] |= _head(RESNET.features, classes)
    return different(tree)


def _head(features, classes):
    head = {"kernel": np.zeros((features, classes)), "bias": np.zeros(classes)}
    return {"head": {"fc": head}} if classes else {}
