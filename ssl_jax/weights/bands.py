"""Adaptation of weights in timm's layout to other bands, which are matched by name.

Bands that the file has keep their weights exactly, except that `tile` scales them; each new band is
initialised from the file's weights. Two layers depend on the bands, and both are adapted: the first
layer, whose inputs are the bands, and the prediction layer of MAE's decoder, whose outputs they
are.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.bands import common_band_name
from data_pipelines.errors import UserError
from ssl_jax.weights import resnet, vit
from ssl_jax.weights.choices import METHODS

__all__ = ["adapt_to_bands", "common_name"]

_PREDICTION = ("decoder_pred.weight", "decoder_pred.bias")


def common_name(name: str) -> str:
    """Return the common name of a band (`NIR` or `B08` -> `nir`), or `name` if it has none."""
    return common_band_name(name) or name


def adapt_to_bands(
    tensors: Mapping[str, np.ndarray],
    file_bands: Sequence[str],
    bands: Sequence[str],
    new_bands: str = "copy",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Adapt the weights of a network to other bands.

    Args:
        tensors: State dict in timm's layout.
        file_bands: Names of the bands that the tensors are for, in order.
        bands: Names of the bands that the result is for, in order.
        new_bands: Initialisation of the bands that are not in `file_bands`: `copy`, the weights of
            red; `tile`, the weights of the file's bands in turn, with all weights of the first
            layer scaled by the fraction of `bands` that are in `file_bands`, as in timm; `random`,
            normally distributed with the standard deviation of the file's weights.
        seed: Seed of `random`.

    Returns:
        State dict of the adapted network.

    Raises:
        UserError: If a band is named twice or its name is empty, if the number of `file_bands` is
            not that of the first layer's inputs, or if `copy` finds no red.
    """
    file_bands, bands = (
        _to_common_names(option, names)
        for option, names in (("file_bands", file_bands), ("bands", bands))
    )
    stem = resnet.STEM if resnet.STEM in tensors else vit.STEM
    if tensors[stem].shape[1] != len(file_bands):
        raise UserError(
            f"--file_bands: found {', '.join(file_bands)}; expected {tensors[stem].shape[1]} "
            f"names, one for each input channel of {stem}, in order"
        )
    kept_bands = [band for band in bands if band in file_bands]
    if len(kept_bands) < len(bands) and new_bands == "copy" and "red" not in file_bands:
        raise UserError(
            f"--new_bands copy: found no red among the file's bands {', '.join(file_bands)}; "
            f"expected {' or '.join(METHODS[1:])} to initialise "
            f"{', '.join(sorted(set(bands) - set(kept_bands)))}"
        )
    generator = np.random.default_rng(seed)
    adapt = functools.partial(_adapt_last_axis, file_bands, bands, new_bands, generator)
    tensors = dict(tensors)
    scale = len(kept_bands) / len(bands) if new_bands == "tile" and kept_bands else 1
    kernel = adapt(np.moveaxis(tensors[stem], 1, -1))
    tensors[stem] = np.moveaxis(kernel, -1, 1) * np.asarray(scale, kernel.dtype)
    for name in _PREDICTION:
        if name in tensors:
            # The rows are ordered as (p², C). As the layer doesn't sum over bands, it isn't scaled.
            rows = tensors[name]
            by_band = rows.reshape(-1, len(file_bands), *rows.shape[1:])
            by_band = np.moveaxis(adapt(np.moveaxis(by_band, 1, -1)), -1, 1)
            tensors[name] = by_band.reshape(-1, *rows.shape[1:])
    return tensors


def _adapt_last_axis(
    file_bands: Sequence[str],
    bands: Sequence[str],
    new_bands: str,
    generator: np.random.Generator,
    weights: np.ndarray,
) -> np.ndarray:
    """Adapt weights (..., file's bands) to (..., bands); see `adapt_to_bands`."""
    num_tiled = iter(range(len(bands)))
    columns = []
    for band in bands:
        if band in file_bands:
            columns.append(weights[..., file_bands.index(band)])
        elif new_bands == "copy":
            columns.append(weights[..., file_bands.index("red")])
        elif new_bands == "tile":
            columns.append(weights[..., next(num_tiled) % len(file_bands)])
        else:
            column = generator.normal(0, weights.std(), weights.shape[:-1])
            columns.append(column.astype(weights.dtype))
    return np.stack(columns, axis=-1)


def _to_common_names(option: str, names: Sequence[str]) -> list[str]:
    """Return the common names of bands, and check that they are distinct and not empty."""
    common = [common_name(name) for name in names]
    if len(set(common)) < len(common) or not all(common):
        raise UserError(f"--{option}: found {','.join(names)}; expected distinct names of bands")
    return common
