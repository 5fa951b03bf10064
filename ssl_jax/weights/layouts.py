"""Which layout a file has, told by the names of its tensors, and all of them in timm's."""

from collections.abc import Mapping

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.weights import resnet, transformers, vit

__all__ = ["is_mae", "is_resnet", "strip_prefix", "to_timm_layout"]

# What wrappers put before every name: DataParallel, Lightning, timm's and MoCo's encoders.
_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "base_encoder.", "encoder_q.")


def to_timm_layout(
    tensors: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors in timm's layout, and those that none of it is made of, with the reasons.

    Raises:
        UserError: the names are of no layout that is known here.
    """
    tensors = strip_prefix(tensors)
    unused: dict[str, str] = {}
    if transformers.is_transformers_layout(tensors):
        unused = transformers.find_unused_tensors(tensors)
        tensors = transformers.to_timm(tensors)
    if resnet.STEM not in tensors and vit.STEM not in tensors:
        raise UserError(
            f"tensors {', '.join(sorted(tensors)[:3])}, …: are of no layout known here; expected a "
            f"ResNet of torchvision, timm or transformers ({resnet.STEM}, …), or a ViT or MAE of "
            f"timm, facebookresearch/mae or transformers ({vit.STEM}, …), one network and no more"
        )
    layout = resnet if is_resnet(tensors) else vit
    return tensors, unused | layout.find_unused_tensors(tensors)


def is_resnet(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether tensors in timm's layout are a ResNet's rather than a ViT's."""
    return resnet.STEM in tensors


def is_mae(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether tensors in timm's layout have MAE's decoder."""
    return "mask_token" in tensors


def strip_prefix(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors without what a wrapper has put before the name of every one of them."""
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return strip_prefix({n.removeprefix(prefix): t for n, t in tensors.items()})
    return dict(tensors)
