"""Satellite images for the eye: bands as colours, a stretch, class colours."""

from collections.abc import Sequence

import numpy as np

__all__ = ["FALSE_COLOUR", "TRUE_COLOUR", "colour_labels", "has_display_bands", "to_display_rgb"]

TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("nir", "red", "green")  # vegetation shows in red, as on infrared film

_NO_CLASS = (70, 70, 70)


def has_display_bands(bands: Sequence[str], colours: Sequence[str]) -> bool:
    """Whether images of these bands can be shown in these colours."""
    return set(colours) <= set(bands)


def to_display_rgb(
    image: np.ndarray,
    bands: Sequence[str],
    colours: Sequence[str] = TRUE_COLOUR,
    like: np.ndarray | None = None,
) -> np.ndarray:
    """An image for display, (H, W, C) in unit values -> (H, W, 3) in 0..1.

    The darkest and the brightest hundredth of the pixels are cut off and the rest is spread over
    the whole scale: by the same factor for all three colours in true colour, so that the hue is
    kept, and for each on its own in false colour.

    Args:
        image: with the bands last.
        bands: their names.
        colours: the bands to be shown as red, green and blue; for lack of them the first is shown.
        like: the image that the stretch is taken from, to compare two; by default itself.
    """
    channels = (
        [bands.index(name) for name in colours] if has_display_bands(bands, colours) else [0, 0, 0]
    )
    reference = (image if like is None else like)[..., channels].reshape(-1, 3)
    axis = 0 if colours != TRUE_COLOUR else None
    low, high = np.percentile(reference, (1, 99), axis=axis)
    stretched = (image[..., channels] - low) / np.maximum(high - low, 1e-3)
    # Reflectances are linear; the eye is not.
    return np.clip(stretched, 0, 1) ** 0.8


def colour_labels(labels: np.ndarray, colours: Sequence[Sequence[int]]) -> np.ndarray:
    """Labels (H, W) -> their colours (H, W, 3) in 0..1; dark grey for those that have none."""
    table = np.tile(np.asarray(_NO_CLASS, np.float64), (256, 1))
    if len(colours):
        table[: len(colours)] = colours
    return table[labels] / 255
