"""What goes wrong with the pixels of red, green, blue and near infrared before they are read."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Change = Callable[[np.ndarray], np.ndarray]


class Fault(NamedTuple):
    """A change of images (B, H, W, 4), and the checks that may recognise it."""

    change: Change
    checks: tuple[str, ...]
    refused: bool


def list_faults(dtype: str) -> dict[str, Fault]:
    """Return the faults of images of a dtype: uint16 reflectances in 1/10,000, or uint8."""
    top, largest = (10_000, 65_535) if dtype == "uint16" else (255, 255)
    common = {**_list_scales(top), **_list_bands(largest), **_list_values(top, largest)}
    return common | (_list_faults_of_uint16() if dtype == "uint16" else _list_faults_of_uint8())


def _list_scales(top: int) -> dict[str, Fault]:
    def multiply(factor: float) -> Change:
        return lambda x: (x.astype(np.float64) * factor).astype(np.float32)

    scale = ("scale", "range", "distribution")
    return {
        "fractions 0…1": Fault(multiply(1 / top), scale, True),
        "percent 0…100": Fault(multiply(100 / top), scale, False),
        "a hundred times": Fault(multiply(100), scale, True),
        "a tenth": Fault(lambda x: (x / 10).astype(x.dtype), scale, False),
        "ten times": Fault(lambda x: _to_uint16(x * 10.0), (*scale, "steps"), True),
        "39 times": Fault(lambda x: _to_uint16(x * 39.0), (*scale, "saturation"), True),
        "full 16 bits": Fault(lambda x: _to_uint16(x * (65_535 / top)), scale, True),
        "standardised": Fault(_standardise, ("negative",), True),
    }


def _list_bands(largest: int) -> dict[str, Fault]:
    def take(*channels: int) -> Change:
        return lambda x: x[..., list(channels)]

    order = ("order", "distribution")
    return {
        "alpha for nir": Fault(_set_nir(largest), ("constant",), True),
        "nir missing": Fault(_set_nir(0), ("constant", "zeros"), True),
        "mask for nir": Fault(_mask_nir(largest), ("constant",), True),
        "one band four times": Fault(take(0, 0, 0, 0), ("identical",), True),
        "red for nir": Fault(take(0, 1, 2, 0), ("identical",), True),
        "red and blue exchanged": Fault(take(2, 1, 0, 3), order, False),
        "red and nir exchanged": Fault(take(3, 1, 2, 0), order, False),
        "green and nir exchanged": Fault(take(0, 3, 2, 1), order, False),
        "bands reversed": Fault(take(3, 2, 1, 0), order, False),
        "nir first": Fault(take(3, 0, 1, 2), order, False),
    }


def _list_values(top: int, largest: int) -> dict[str, Fault]:
    def invert(x: np.ndarray) -> np.ndarray:
        return (top - 1.0 * x).clip(0).astype(x.dtype)

    def overexpose(x: np.ndarray) -> np.ndarray:
        return (x * 3.0).clip(0, top).astype(x.dtype)

    unlike = ("distribution", "saturation", "order", "offset", "scale", "steps")
    return {
        "NaN": Fault(_set_one_in_float(np.nan), ("nan",), True),
        "infinite": Fault(_set_one_in_float(-np.inf), ("nan",), True),
        "int16 overflowed": Fault(lambda x: (x - 32_768.0).astype(np.int16), ("negative",), True),
        "int16 with nodata": Fault(_collar_of(-9999, np.int16), ("negative",), True),
        "a collar of 0": Fault(_collar_of(0), ("zeros",), False),
        "a collar of the largest": Fault(_collar_of(largest), ("saturation",), False),
        "inverted": Fault(invert, unlike, False),
        "overexposed": Fault(overexpose, unlike, False),
    }


def _list_faults_of_uint16() -> dict[str, Fault]:
    def add(constant: float) -> Change:
        return lambda x: _to_uint16(x + float(constant))

    def stretch(x: np.ndarray) -> np.ndarray:
        return (x / 3000.0 * 255).clip(0, 255).astype(np.uint8)

    def quantise(x: np.ndarray) -> np.ndarray:
        return (x / 10_000.0 * 255).astype(np.uint8) * np.uint16(39)

    def convert_to_landsat(x: np.ndarray) -> np.ndarray:
        return _to_uint16((x / 10_000.0 + 0.2) / 2.75e-5)

    few = ("constant", "saturation", "scale", "distribution")
    return {
        "8-bit stretch": Fault(stretch, ("dtype",), True),
        "8-bit stretch as float": Fault(lambda x: 1.0 * stretch(x), ("scale",), True),
        "8 bits times 39": Fault(quantise, ("steps", "constant"), False),
        "1000 added": Fault(add(1000), ("offset", "distribution"), False),
        "1000 subtracted": Fault(add(-1000), ("zeros", "constant", "distribution"), False),
        "bytes exchanged": Fault(lambda x: x.byteswap(), ("scale", "range"), True),
        "cut at 255": Fault(lambda x: x.clip(0, 255), few, False),
        "Landsat's scale": Fault(convert_to_landsat, ("scale", "range"), True),
    }


def _list_faults_of_uint8() -> dict[str, Fault]:
    return {
        "8 bits times 257": Fault(lambda x: x.astype(np.uint16) * 257, ("scale",), True),
        "signed bytes": Fault(lambda x: x.view(np.int8), ("negative",), True),
        "reflectances": Fault(lambda x: _to_uint16(x * 20.0), ("scale", "range"), True),
    }


def _to_uint16(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 65_535).astype(np.uint16)


def _standardise(values: np.ndarray) -> np.ndarray:
    axes = (0, 1, 2)
    return ((values - values.mean(axes)) / (values.std(axes) + 1e-6)).astype(np.float32)


def _set_nir(value: int) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        changed[..., 3] = value
        return changed

    return change


def _mask_nir(largest: int) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        changed = _set_nir(largest)(values)
        changed[:, : values.shape[1] // 4, : values.shape[2] // 4, 3] = 0
        return changed

    return change


def _set_one_in_float(value: float) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        changed = values.astype(np.float32)
        changed[:, 3, 5, 1] = value
        return changed

    return change


def _collar_of(value: int, dtype: type | None = None) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        changed = values.astype(dtype or values.dtype)
        changed[:, :, : values.shape[2] // 4] = value
        return changed

    return change
