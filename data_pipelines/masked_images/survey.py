"""A look at some masks before they are read: classes that would have no pixel, unknown colours."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File
from data_pipelines.files.rasters import gdal_environment, open_raster
from data_pipelines.imagery.values import select_evenly
from data_pipelines.masked_images.legends import (
    IGNORE_LABEL,
    ColourLegend,
    NumberLegend,
    read_colours,
    read_numbers,
)

__all__ = ["survey_colours", "survey_numbers"]

# Limit on the masks that are looked at, and the side, in pixels, to which they are subsampled.
_MAX_MASKS, _SIDE = 64, 512
# Share of pixels of unknown colours from which masks are refused.
_MAX_UNKNOWN = 0.5
# Difference from a class's colour up to which lossy compression may be the cause.
_LOSSY = 40


def survey_numbers(
    masks: Sequence[File], classes: Sequence[str], legend: NumberLegend, given: bool
) -> str:
    """Describe which number is which class, and which numbers the masks hold.

    Args:
        masks: The mask files.
        classes: Names of the classes.
        legend: Number of each class.
        given: Whether the user gave these numbers.

    Raises:
        UserError: If the masks hold 0 and the value of unlabelled pixels alone, and this would
            leave the second of two classes without a pixel.
    """
    found: set[float] = set()
    for numbers, is_hidden in _read_some(masks, legend, read_numbers):
        found |= set(np.unique(numbers[~is_hidden]).tolist())
    if not given and len(classes) == 2 and found == {0, legend.ignore_label}:
        raise UserError(
            f"file {masks[0]}: masks hold the numbers 0 and {legend.ignore_label} alone, of which "
            f"{legend.ignore_label} is unlabelled (--config.ignore_label), so that {classes[1]} "
            f"would have no pixel; expected --config.values=0,{legend.ignore_label} if it is "
            f"{classes[1]}, or --config.values=0,1 if it is unlabelled"
        )
    pairs = ", ".join(f"{v} is {name}" for v, name in zip(legend.values, classes, strict=True))
    rest = sorted(found - set(legend.values))
    listed = ", ".join(f"{number:g}" for number in rest[:8]) + ", …" * (len(rest) > 8)
    return f"{pairs}; no class: {listed or 'no other number'}"


def survey_colours(
    masks: Sequence[File],
    classes: Sequence[str],
    legend: ColourLegend,
    unlabelled: Sequence[tuple[int, int, int]],
) -> str:
    """Describe what share of the masks has the colour of a class.

    Args:
        masks: The mask files.
        classes: Names of the classes.
        legend: Colour of each class.
        unlabelled: Colours that stand for unlabelled pixels.

    Raises:
        UserError: If more than half of the pixels have unknown colours.
    """
    colours = [
        colours[:, ~is_hidden] for colours, is_hidden in _read_some(masks, legend, read_colours)
    ]
    if not colours:
        return "none can be read"
    pixels = np.concatenate(colours, axis=1)
    is_known = legend.find_classes(pixels) != IGNORE_LABEL
    for colour in unlabelled:
        is_known |= (pixels == np.reshape(colour, (3, 1))).all(axis=0)
    share = 1 - is_known.mean() if is_known.size else 0.0
    if not share:
        return f"the colours of {', '.join(classes)}, and no other"
    unknown, counts = np.unique(pixels[:, ~is_known], axis=1, return_counts=True)
    order = np.argsort(-counts)[:3]
    listed = ", ".join(
        f"({', '.join(map(str, unknown[:, i]))}) {counts[i] / pixels.shape[1]:.1%}" for i in order
    )
    text = (
        f"{share:.1%} of the pixels have the colour of no class and are unlabelled; the commonest "
        f"such colours are {listed}"
    )
    hint = _find_cause(pixels, is_known, legend)
    if share <= _MAX_UNKNOWN:
        return text + (f"; {hint}" if hint else "")
    hint = hint or (
        "expected --config.colours with the colours of the masks, or "
        "--config.unlabelled=((RED,GREEN,BLUE),) with those that mean unlabelled"
    )
    raise UserError(f"file {masks[0]}: in the masks, {text}; {hint}")


def _find_cause(pixels: np.ndarray, is_known: np.ndarray, legend: ColourLegend) -> str:
    """Explain unknown colours by exchanged channels or by lossy compression, if that does."""
    unknown = pixels[:, ~is_known]
    exchanged = legend.find_classes(pixels[::-1]) != IGNORE_LABEL
    if exchanged.mean() > max(is_known.mean(), _MAX_UNKNOWN):
        swapped = tuple(colour[::-1] for colour in legend.colours)
        return (
            f"as blue, green, red, {exchanged.mean():.0%} are classes: expected "
            f"--config.colours={str(swapped).replace(' ', '')}"
        )
    lossy = ColourLegend(legend.colours, tolerance=_LOSSY)
    if (lossy.find_classes(unknown) != IGNORE_LABEL).mean() > _MAX_UNKNOWN:
        return (
            "most are near the colour of a class, as after lossy compression or resizing: "
            f"--config.colour_tolerance={_LOSSY} takes the nearest class"
        )
    return ""


def _read_some(
    masks: Sequence[File],
    legend: ColourLegend | NumberLegend,
    read: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what `read` returns of some of the masks, subsampled, that suit the legend."""
    with gdal_environment(sidecars=True):
        for file in select_evenly(masks, _MAX_MASKS):
            try:
                with open_raster(file) as raster:
                    legend.check(file, raster)
                    height, width = raster.shape
                    pixels = read(file, raster, out_shape=(min(height, _SIDE), min(width, _SIDE)))
            except UserError:  # raised again, or skipped, when the mask is read
                continue
            yield pixels
