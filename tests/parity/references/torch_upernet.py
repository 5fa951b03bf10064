"""UperNet of transformers on a ResNet or a ViT, and the conversion of its weights."""

import re
from types import SimpleNamespace

import numpy as np
import torch
from flax.traverse_util import unflatten_dict
from parity.references.torch_norms import randomise_norms, use_biased_variance
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from transformers import ResNetConfig, UperNetConfig, UperNetForSemanticSegmentation

from ssl_jax.weights import transformers, vit

_MODULES = {"decode_head": "head", "auxiliary_head": "auxiliary", "backbone.neck": "neck"}
_LEAVES = {"running_mean": "mean", "running_var": "var"}


def make_upernet(backbone, channels, hidden, auxiliary, classes=5):
    """Create a UperNet on `backbone`, or on a small ResNet of transformers if that is None."""
    sizes = {"embedding_size": channels[0], "hidden_sizes": channels, "depths": (1, 1, 1, 1)}
    features = [f"stage{i}" for i in (1, 2, 3, 4)]
    config = UperNetConfig(
        backbone_config=ResNetConfig(
            num_channels=4, layer_type="basic", out_features=features, **sizes
        ),
        hidden_size=hidden,
        auxiliary_in_channels=channels[2],
        auxiliary_channels=auxiliary,
        num_labels=classes,
    )
    model = UperNetForSemanticSegmentation(config)
    model.backbone = backbone or model.backbone
    randomise_norms(model)
    return use_biased_variance(model)


class ViTWithNeck(nn.Module):
    """timm's ViT and mmsegmentation's `Feature2Pyramid`."""

    def __init__(self, size, patch, dim=16, depth=4, heads=2):
        super().__init__()
        sizes = {"embed_dim": dim, "depth": depth, "num_heads": heads}
        self.vit = VisionTransformer(size, patch, 4, num_classes=0, **sizes)
        self.vit.pos_embed = nn.Parameter(
            torch.tensor(vit.sincos_pos_embed(dim, size // patch)), requires_grad=False
        )
        self.neck = Neck(patch, dim)

    def forward_with_filtered_kwargs(self, image, **unused):
        maps = self.vit.forward_intermediates(
            image, indices=range(4), intermediates_only=True, norm=False
        )
        return SimpleNamespace(feature_maps=self.neck(maps), hidden_states=None, attentions=None)


class Neck(nn.Module):
    """`Feature2Pyramid`, except that pooling rounds sizes up instead of cropping the border."""

    def __init__(self, patch, dim):
        super().__init__()
        deconvolution = {"kernel_size": 2, "stride": 2}
        four = nn.Sequential(
            nn.ConvTranspose2d(dim, dim, **deconvolution),
            nn.BatchNorm2d(dim),
            nn.GELU(),
            nn.ConvTranspose2d(dim, dim, **deconvolution),
        )
        two = nn.Sequential(nn.ConvTranspose2d(dim, dim, **deconvolution))
        half, quarter = (nn.MaxPool2d(side, ceil_mode=True) for side in (2, 4))
        levels = {16: [four, two, nn.Identity(), half], 8: [two, nn.Identity(), half, quarter]}
        self.levels = nn.ModuleList(levels[patch])

    def forward(self, maps):
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


def from_torch(tensors):
    """Convert a state dict, or gradients by parameter name, of a UperNet to variables."""
    backbone = {n: t for n, t in tensors.items() if n.startswith("backbone.")}
    backbone = {n.removeprefix("backbone."): t for n, t in backbone.items() if ".neck." not in n}
    if any(name.startswith("vit.") for name in backbone):
        variables = vit.from_torch({n.removeprefix("vit."): t for n, t in backbone.items()})
    else:
        variables = transformers.from_torch(backbone)
    for name, module in _MODULES.items():
        module_tensors = {
            n.removeprefix(f"{name}."): t for n, t in tensors.items() if n.startswith(name)
        }
        for collection, tree in from_torch_module(module_tensors).items():
            variables[collection][module] = tree
    return variables


def from_torch_module(tensors):
    """Convert a state dict of a head or of the neck to variables."""
    flat = {}
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        module, _, leaf = _to_module_path(name).rpartition("/")
        if tensor.ndim == 4:
            transposed = "deconv" in module
            tensor = tensor.transpose((2, 3, 0, 1) if transposed else (2, 3, 1, 0))
            # Flax's transposed convolution doesn't flip its kernel.
            tensor = tensor[::-1, ::-1] if transposed else tensor
        if leaf == "weight":
            leaf = "scale" if tensor.ndim == 1 else "kernel"
        collection = "batch_stats" if leaf.startswith("running_") else "params"
        flat[f"{collection}/{module}/{_LEAVES.get(leaf, leaf)}"] = np.ascontiguousarray(tensor)
    return unflatten_dict(flat, sep="/")


def _to_module_path(name):
    """Convert a name: `psp_modules.0.1.batch_norm.weight` -> `psp_modules_0/bn/weight`."""
    if match := re.fullmatch(r"levels\.(\d)\.(\d)\.(\w+)", name):
        level, index, leaf = match.groups()
        module = {"0": "deconv1", "1": "bn1", "3": "deconv2"}[index]
        return f"level{level}_{module}/{leaf}"
    name = re.sub(r"(psp_modules\.\d)\.1", r"\1", name)
    name = re.sub(r"^convs\.0", "conv", name).replace("batch_norm", "bn")
    return re.sub(r"\.(\d)", r"_\1", name).replace(".", "/")
