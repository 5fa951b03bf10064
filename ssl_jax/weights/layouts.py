"""Detection of a state dict's layout by its tensor names, and conversion to timm's layout."""

from collections.abc import Mapping

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.weights import resnet, transformers, vit

__all__ = ["is_mae", "is_resnet", "strip_prefix", "to_timm_layout"]

# Prefixes that wrappers add to all names: those of DataParallel, Lightning, timm and MoCo.
_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "base_encoder.", "encoder_q.")


def to_timm_layout(
    tensors: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Convert a state dict in any of the known layouts to timm's layout.

    Args:
        tensors: State dict.

    Returns:
        The state dict in timm's layout, and the tensors of `tensors` that are not used, each with
        the reason.

    Raises:
        UserError: If the names are not those of a known layout.
    """
    tensors = strip_prefix(tensors)
    unused: dict[str, str] = {}
    if transformers.is_transformers_layout(tensors):
        unused = transformers.find_unused_tensors(tensors)
        tensors = transformers.to_timm(tensors)
    if resnet.STEM not in tensors and vit.STEM not in tensors:
        raise UserError(
            f"tensors: found {', '.join(sorted(tensors)[:3])}, …, which is no known layout; "
            f"expected a single network: a ResNet of torchvision, timm or transformers "
            f"({resnet.STEM}, …), or a ViT or MAE of timm, facebookresearch/mae or transformers "
            f"({vit.STEM}, …)"
        )
    layout = resnet if is_resnet(tensors) else vit
    return tensors, unused | layout.find_unused_tensors(tensors)


def is_resnet(tensors: Mapping[str, np.ndarray]) -> bool:
    """Return whether a state dict in timm's layout is of a ResNet rather than a ViT."""
    return resnet.STEM in tensors


def is_mae(tensors: Mapping[str, np.ndarray]) -> bool:
    """Return whether a state dict in timm's layout has MAE's decoder."""
    return "mask_token" in tensors


def strip_prefix(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove the prefixes of wrappers that all tensor names share, such as `module.`."""
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return strip_prefix({n.removeprefix(prefix): t for n, t in tensors.items()})
    return dict(tensors)
