"""Networks: pure functions of images and parameters, without losses or data.

All take standardised float images (B, H, W, C) with any number of bands. Parameters are float32;
`dtype` is that of the computations, except that softmax, statistics of normalisations and spatial
averages are always float32. A backbone has two outputs: `backbone(image, train)`, the
representation (B, D), and `backbone.levels(image, train)`, four feature maps (B, h, w, c) from fine
to coarse.

Shared layers are in `layers`.
"""

from ssl_jax.models.heads import MLP, Projection
from ssl_jax.models.image_statistics import ImageStatistics
from ssl_jax.models.layers.patches import patchify, unpatchify
from ssl_jax.models.mae import MaskedAutoencoder, Reconstruction
from ssl_jax.models.resnet import ResNet, resnet18, resnet50
from ssl_jax.models.simclr import SimCLRModel
from ssl_jax.models.upernet import SegmentationLogits, UperNet
from ssl_jax.models.vit import ViT, vit_b, vit_s, vit_ti

__all__ = [
    "MLP",
    "ImageStatistics",
    "MaskedAutoencoder",
    "Projection",
    "Reconstruction",
    "ResNet",
    "SegmentationLogits",
    "SimCLRModel",
    "UperNet",
    "ViT",
    "patchify",
    "resnet18",
    "resnet50",
    "unpatchify",
    "vit_b",
    "vit_s",
    "vit_ti",
]
