"""Other bands for weights in timm's layout: by name, never by position.

Bands that the file knows keep their weights exactly (but for `tile`); each that it doesn't know
starts from what the file has. Both places where bands stand are changed: the first layer, which
takes them in, and the prediction of MAE's decoder, which gives them out.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.bands import COMMON_BANDS
from data_pipelines.errors import UserError
from ssl_jax.weights import resnet, vit

__all__ = ["METHODS", "adapt_to_bands", "common_name"]

METHODS = ("copy", "tile", "random")
_PREDICTION = ("decoder_pred.weight", "decoder_pred.bias")


def common_name(name: str) -> str:
    """A band's common name (`NIR` -> `nir`), or the name itself where it has none."""
    return next((band.name for band in COMMON_BANDS.bands if band.answers_to(name)), name)


def adapt_to_bands(
    tensors: Mapping[str, np.ndarray],
    file_bands: Sequence[str],
    bands: Sequence[str],
    new_bands: str = "copy",
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The tensors of a network for `bands`, in their order.

    Args:
        tensors: in timm's layout.
        file_bands: what they are for, in order.
        bands: what they shall be for, in order.
        new_bands: `copy`, a band the file doesn't know is a copy of red's; `tile`, the file's bands
            are repeated in turn and all inputs scaled by known / all, as timm does it; `random`,
            normal with the standard deviation of the file's weights.
        seed: of `random`.

    Raises:
        UserError: a band is named twice, the file hasn't so many, or none to start from.
    """
    file_bands, bands = (
        _distinct(option, names) for option, names in (("file_bands", file_bands), ("bands", bands))
    )
    stem = resnet.STEM if resnet.STEM in tensors else vit.STEM
    if tensors[stem].shape[1] != len(file_bands):
        raise UserError(
            f"--file_bands: found {', '.join(file_bands)}, but {stem} takes "
            f"{tensors[stem].shape[1]} bands; expected the names of all of them in their order"
        )
    known = [band for band in bands if band in file_bands]
    if len(known) < len(bands) and new_bands == "copy" and "red" not in file_bands:
        raise UserError(
            f"--new_bands copy: the file's bands {', '.join(file_bands)} have no red to copy; "
            f"expected {' or '.join(METHODS[1:])} for {', '.join(set(bands) - set(known))}"
        )
    generator = np.random.default_rng(seed)
    changed = functools.partial(_changed, file_bands, bands, new_bands, generator)
    tensors = dict(tensors)
    share = len(known) / len(bands) if new_bands == "tile" and known else 1
    kernel = changed(np.moveaxis(tensors[stem], 1, -1))
    tensors[stem] = np.moveaxis(kernel, -1, 1) * np.asarray(share, kernel.dtype)
    for name in _PREDICTION:
        if name in tensors:
            # (p² C, ...), the bands last among the rows. No sum runs over them, so no scale.
            rows = tensors[name]
            by_band = rows.reshape(-1, len(file_bands), *rows.shape[1:])
            by_band = np.moveaxis(changed(np.moveaxis(by_band, 1, -1)), -1, 1)
            tensors[name] = by_band.reshape(-1, *rows.shape[1:])
    return tensors


def _changed(
    file_bands: Sequence[str],
    bands: Sequence[str],
    new_bands: str,
    generator: np.random.Generator,
    weights: np.ndarray,
) -> np.ndarray:
    """Weights (..., file's bands) -> (..., bands); see `adapt_to_bands`."""
    turn = iter(range(len(bands)))
    columns = []
    for band in bands:
        if band in file_bands:
            columns.append(weights[..., file_bands.index(band)])
        elif new_bands == "copy":
            columns.append(weights[..., file_bands.index("red")])
        elif new_bands == "tile":
            columns.append(weights[..., next(turn) % len(file_bands)])
        else:
            drawn = generator.normal(0, weights.std(), weights.shape[:-1])
            columns.append(drawn.astype(weights.dtype))
    return np.stack(columns, axis=-1)


def _distinct(option: str, names: Sequence[str]) -> list[str]:
    common = [common_name(name) for name in names]
    if len(set(common)) < len(common) or not all(common):
        raise UserError(f"--{option}: found {','.join(names)}; expected each band once")
    return common
