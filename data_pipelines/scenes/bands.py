"""Which band of a scene is which: by names in its files, or as the user says, not by guess."""

import re
from collections.abc import Sequence
from typing import Any

from rasterio.enums import ColorInterp

from data_pipelines.bands import Sensor, common_band_name, name_bands
from data_pipelines.errors import UserError

__all__ = ["choose_bands", "name_files", "name_raster_bands", "name_told_bands"]

# Colour interpretations that name a band.
_COLOURS = (
    *(ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.nir),
    *(ColorInterp.pan, ColorInterp.coastal, ColorInterp.yellow, ColorInterp.rededge),
)
_RESOLUTION = re.compile(r"[_-][1-6]0m$", re.IGNORECASE)
_NUMBERED = re.compile(r"b0?\d+a?", re.IGNORECASE)


def name_raster_bands(raster: Any, sensor: Sensor) -> tuple[str, ...]:
    """Return the names of a raster's bands: what it calls them, or else their colours.

    Args:
        raster: The rasterio dataset.
        sensor: The sensor, whose own names for bands are known too.

    Returns:
        A name for each band, `alpha` for transparency; empty where the raster says nothing.
    """
    # GDAL describes the bands of a product as `B4, central wavelength 665 nm`.
    texts = [(text or "").split(",")[0] for text in raster.descriptions]
    names = _name_bands(texts, sensor)
    colours = raster.colorinterp
    if not any(texts):  # of a file that calls its bands so and so, colours are those of a display
        names = tuple(colour.name if colour in _COLOURS else "" for colour in colours)
    return tuple(
        "alpha" if not text and colour == ColorInterp.alpha else name
        for name, text, colour in zip(names, texts, colours, strict=True)
    )


def name_files(stems: Sequence[str], sensor: Sensor) -> tuple[str, ...]:
    """Return the names of bands in names of files such as `T32UQD_20220601_B04_10m`.

    Args:
        stems: Names of files that hold a band each, without suffix.
        sensor: The sensor.

    Returns:
        The name of a band for each; empty where there is none.
    """
    return _name_bands([_find_word(stem, sensor) for stem in stems], sensor)


def name_told_bands(
    names: Sequence[str], told: Sequence[str], scene: str, kind: str
) -> tuple[str, ...]:
    """Return the names of bands as the user says.

    Args:
        names: What the files call them.
        told: The names that the user gives, in the same order; without transparency, if the files
            have that.
        scene: The scene, for error messages.
        kind: What has one band each, such as `bands`.

    Raises:
        UserError: If there are more or fewer.
    """
    if len(told) == len(names):
        return tuple(told)
    if "alpha" in names and len(told) == len(names) - 1:
        remaining = iter(told)
        return tuple(name if name == "alpha" else next(remaining) for name in names)
    raise UserError(
        f"scene {scene}: --bands names {len(told)} ({', '.join(told)}); expected a name for each "
        f"of its {len(names)} {kind}, in their order ({_list(names)})"
    )


def choose_bands(
    names: Sequence[str], sensor: Sensor, scene: str, kind: str, labels: Sequence[str]
) -> tuple[int, ...]:
    """Choose the bands that a network needs.

    Args:
        names: Names of what there is, in its order; empty where they are unknown.
        sensor: The sensor, with the bands that the network needs.
        scene: The scene, for error messages.
        kind: What has one band each, such as `bands`.
        labels: What each of them is called in messages, such as `2`.

    Returns:
        The index of each of the sensor's bands.

    Raises:
        UserError: If a band is missing, or there is more than one of its name.
    """
    found = [
        [i for i, name in enumerate(names) if name and band.has_name(name)] for band in sensor.bands
    ]
    if all(len(indices) == 1 for indices in found):
        return tuple(indices[0] for indices in found)
    listed = "without names"
    if any(names):
        labelled = [f"{label} {name}".rstrip() for label, name in zip(labels, names, strict=True)]
        listed = f"({_list(labelled)})"
    needed = ", ".join(sensor.names)
    for band, indices in zip(sensor.bands, found, strict=True):
        if len(indices) > 1:
            raise UserError(
                f"scene {scene}: found more than one {band.name} among {len(names)} {kind} "
                f"{listed}; the checkpoint needs one each of {needed}: name all of them in this "
                f"order, such as --bands {','.join(_suggest([''] * len(names), sensor))}"
            )
    missing = [band.name for band, i in zip(sensor.bands, found, strict=True) if not i]
    advice = f"give a scene that has {', '.join(missing)}"
    if names.count("") + names.count("alpha") >= len(missing):
        suggested = ",".join(_suggest(names, sensor))
        advice = f"name all of them in this order, such as --bands {suggested}"
    raise UserError(
        f"scene {scene}: found {len(names)} {kind} {listed}; the checkpoint needs {needed}: "
        f"{advice}"
    )


def _name_bands(texts: Sequence[str], sensor: Sensor) -> tuple[str, ...]:
    """Return common names, or else the sensor's own names that number nothing."""
    own = [
        next((b.name for b in sensor.bands if b.has_name(text.strip())), "")
        if not _NUMBERED.fullmatch(text.strip())
        else ""
        for text in texts
    ]
    return tuple(name or mine for name, mine in zip(name_bands(texts), own, strict=True))


def _find_word(stem: str, sensor: Sensor) -> str:
    """Find the last word of a file's name that is the name of a band."""
    words = re.split(r"[_\-. ]+", _RESOLUTION.sub("", stem))
    for word in reversed(words):
        # A single letter in the middle of a name is no colour.
        is_short = len(word) == 1 and word is not words[-1]
        is_name = common_band_name(word) or any(band.has_name(word) for band in sensor.bands)
        if is_name and not is_short:
            return word
    return ""


def _suggest(names: Sequence[str], sensor: Sensor) -> list[str]:
    """Return names to type: those that are known, the missing ones where there is none."""
    missing = [b.name for b in sensor.bands if not any(n and b.has_name(n) for n in names)]
    missing = missing or list(sensor.names)
    is_alpha_needed = names.count("") < len(missing)
    suggested = []
    for name in names:
        if missing and (not name or (name == "alpha" and is_alpha_needed)):
            suggested.append(missing.pop(0))
        else:
            suggested.append(name or "other")
    return suggested


def _list(names: Sequence[str], limit: int = 16) -> str:
    return ", ".join(name or "?" for name in names[:limit]) + ", …" * (len(names) > limit)
