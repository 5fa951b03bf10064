"""The networks: pure functions of images and parameters, with no losses and no data.

All take float images (B, H, W, C), already standardised, of any number of bands. Parameters are
float32; `dtype` is what the arithmetic is done in, while softmax, statistics of normalisations and
averages over space are always float32. A backbone has two faces: `backbone(image, train)`, the
representation (B, D), and `backbone.levels(image, train)`, four maps (B, h, w, c), fine to coarse.

The layers they share are in `activations`, `norm` and `stochastic`.
"""

from ssl_jax.models.heads import MLP, Projection
from ssl_jax.models.image_statistics import ImageStatistics
from ssl_jax.models.mae import MaskedAutoencoder, Reconstruction
from ssl_jax.models.patches import patchify, unpatchify
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
