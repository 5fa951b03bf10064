"""Checks of profiles that are read, which may come from an untrusted source."""

import math
from collections.abc import Mapping
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["check_profile"]

# Above any dataset; nothing is allocated for a profile that exceeds them.
_MAX_BANDS = 2**10
_MAX_CLASSES = 2**16
_MAX_COUNT = 2**62
_MAX_PIXELS = 2**20  # height or width of an image
_DTYPES = ("uint8", "uint16")
_COUNTED = ("", "examples", "pixels")
# {field: smallest and largest value}.
_PROFILE_NUMBERS = {"resolution": (0.0, 1e9), "nodata": (0.0, 1.0)}
_PROFILE_INTEGERS = {"images": (0, _MAX_COUNT), "pixels": (0, _MAX_COUNT)}
_BAND_NUMBERS = {
    "wavelength": (0.0, 1e9),
    "scale": (-1e12, 1e12),
    "offset": (-1e12, 1e12),
    "mean": (-1e12, 1e12),
    "std": (0.0, 1e12),
    "saturated": (0.0, 1.0),
    "beyond": (0.0, 1.0),
}


def check_profile(profile: Any, version: int, num_quantiles: int) -> None:
    """Check types, ranges and sizes of a profile.

    Args:
        profile: The profile as decoded from JSON.
        version: The expected format.
        num_quantiles: Number of quantiles of each band.

    Raises:
        UserError: If a field is missing, has the wrong type or is out of range.
    """
    if not isinstance(profile, Mapping):
        raise _make_error("the profile", profile, "a JSON object")
    if profile.get("format") != version:
        raise _make_error("format", profile.get("format"), str(version))
    _check_text("sensor", profile.get("sensor"))
    _check_choice("dtype", profile.get("dtype"), _DTYPES)
    _check_choice("counted", profile.get("counted"), _COUNTED)
    if not isinstance(profile.get("is_sample"), bool):
        raise _make_error("is_sample", profile.get("is_sample"), "true or false")
    for name, (low, high) in _PROFILE_NUMBERS.items():
        _check_number(name, profile.get(name), low, high)
    for name, (first, last) in _PROFILE_INTEGERS.items():
        _check_integer(name, profile.get(name), first, last)
    for size in _get_list("image_size", profile, 2, 2):
        _check_integer("image_size", size, 1, _MAX_PIXELS)
    bands = _get_list("bands", profile, 1, _MAX_BANDS)
    for band in bands:
        _check_band(band, num_quantiles)
    rows = _get_list("correlation", profile, 0, _MAX_BANDS)
    if rows and len(rows) != len(bands):
        raise _make_error("correlation", rows, "a row for each band, or none")
    for row in rows:
        if not isinstance(row, list) or len(row) != len(bands):
            raise _make_error("correlation", row, "a number for each band")
        for value in row:
            _check_number("correlation", value, -1.0, 1.0)
    for item in _get_list("classes", profile, 0, _MAX_CLASSES):
        _check_class(item)


def _check_band(band: Any, num_quantiles: int) -> None:
    if not isinstance(band, Mapping):
        raise _make_error("bands", band, "a JSON object for each band")
    _check_text("bands.name", band.get("name"))
    _check_text("bands.unit", band.get("unit"))
    for name, (low, high) in _BAND_NUMBERS.items():
        _check_number(f"bands.{name}", band.get(name), low, high)
    quantiles = _get_list("quantiles", band, num_quantiles, num_quantiles)
    for value in quantiles:
        _check_number("bands.quantiles", value, -1e12, 1e12)
    if quantiles != sorted(quantiles):
        raise _make_error("bands.quantiles", quantiles, "numbers in ascending order")


def _check_class(item: Any) -> None:
    if not isinstance(item, Mapping):
        raise _make_error("classes", item, "a JSON object for each class")
    _check_text("classes.name", item.get("name"))
    _check_integer("classes.number", item.get("number"), 0, _MAX_CLASSES)
    _check_integer("classes.count", item.get("count"), 0, _MAX_COUNT)
    colour = _get_list("colour", item, 0, 3)
    if len(colour) not in (0, 3):
        raise _make_error("classes.colour", colour, "red, green and blue")
    for value in colour:
        _check_integer("classes.colour", value, 0, 255)


def _get_list(name: str, parent: Mapping[str, Any], shortest: int, longest: int) -> list[Any]:
    value = parent.get(name)
    if not isinstance(value, list) or not shortest <= len(value) <= longest:
        length = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
        raise _make_error(name, value, f"a list of {length}")
    return value


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _make_error(name, value, "a string")


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise _make_error(name, value, " or ".join(repr(choice) for choice in choices))


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise _make_error(name, value, f"a number from {low:g} to {high:g}")


def _check_integer(name: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _make_error(name, value, f"an integer from {low:,} to {high:,}")


def _make_error(name: str, value: Any, expected: str) -> UserError:
    text = " ".join(repr(value)[:200].split())
    text = text if len(text) <= 80 else f"{text[:80]}…"
    return UserError(
        f"data profile: {name} is {text}; expected {expected}: the profile is corrupt or was "
        "written by another program"
    )
