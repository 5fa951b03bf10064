"""Detection of a state dict's layout by its tensor names, and conversion to timm's layout."""

from collections.abc import Mapping

import numpy as np

from data_pipelines.errors import UserError
from ssl_jax.weights import resnet, transformers, vit

__all__ = ["is_mae", "is_resnet", "strip_prefix", "to_timm_layout"]

# Prefixes that wrappers add to all names: those of DataParallel, Lightning, timm and MoCo.
_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "base_encoder.", "encoder_q.")


def to_timm_layout(
    tensors: Mapping[str, np.ndarray], prefix: str = ""
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Convert a state dict in any of the known layouts to timm's layout.

    Args:
        tensors: State dict.
        prefix: What the names of the network's tensors begin with, such as `module.encoder_q.`, in
            a file of several networks; empty for a file of one.

    Returns:
        The state dict in timm's layout, and the tensors of `tensors` that are not used, each with
        the reason.

    Raises:
        UserError: If the names are not those of a known layout.
    """
    unused: dict[str, str] = {}
    found = _find_prefixes(tensors)
    if prefix:
        tensors, unused = _select_prefix(tensors, prefix, found)
    tensors = _drop_time_axis(strip_prefix(tensors))
    if transformers.is_transformers_layout(tensors):
        unused |= transformers.find_unused_tensors(tensors)
        tensors = transformers.to_timm(tensors)
    if resnet.STEM not in tensors and vit.STEM not in tensors:
        if found and found != [""]:
            raise UserError(
                f"tensors: found those of several networks, or of more than a network; expected "
                f"--prefix with one of the prefixes that have a first layer: {', '.join(found)}"
            )
        raise UserError(
            f"tensors: found {', '.join(sorted(tensors)[:3])}, …, which is no known layout; "
            f"expected a single network: a ResNet of torchvision, timm or transformers "
            f"({resnet.STEM}, …), or a ViT or MAE of timm, facebookresearch/mae or transformers "
            f"({vit.STEM}, …)"
        )
    layout = resnet if is_resnet(tensors) else vit
    return tensors, unused | layout.find_unused_tensors(tensors)


def _find_prefixes(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Return what the names of the first layers in a state dict begin with."""
    stems = (resnet.STEM, vit.STEM, *transformers.STEMS)
    return sorted(
        name.removesuffix(stem)
        for name in tensors
        for stem in stems
        if name == stem or name.endswith(f".{stem}")
    )


def _select_prefix(
    tensors: Mapping[str, np.ndarray], prefix: str, found: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors whose names begin with a prefix, without it, and the others as unused."""
    prefix = prefix if prefix.endswith(".") else f"{prefix}."
    selected = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    if not selected:
        raise UserError(
            f"--prefix: found {prefix}, with which no tensor begins; expected one of those that "
            f"have a first layer: {', '.join(filter(None, found)) or 'none, as the file has one'}"
        )
    reason = f"its name doesn't begin with --prefix {prefix}"
    return selected, {name: reason for name in tensors if not name.startswith(prefix)}


def _drop_time_axis(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sum the first layer of a network of videos over time, as for an image that stands still."""
    stem = tensors.get(vit.STEM)
    if stem is None or stem.ndim != 5:  # (channels, bands, time, p, p)
        return tensors
    return {**tensors, vit.STEM: stem.sum(axis=2)}


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
