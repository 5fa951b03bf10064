"""Satellite images for display: bands as colours, contrast stretch, class colours."""

from collections.abc import Sequence

import numpy as np

__all__ = ["FALSE_COLOUR", "TRUE_COLOUR", "colour_labels", "has_display_bands", "to_display_rgb"]

TRUE_COLOUR = ("red", "green", "blue")
FALSE_COLOUR = ("nir", "red", "green")  # vegetation appears red, as on infrared film

_NO_CLASS = (70, 70, 70)


def has_display_bands(bands: Sequence[str], colours: Sequence[str]) -> bool:
    """Return whether images with these bands can be shown in these colours."""
    return set(colours) <= set(bands)


def to_display_rgb(
    image: np.ndarray,
    bands: Sequence[str],
    colours: Sequence[str] = TRUE_COLOUR,
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """Convert an image to RGB for display.

    The darkest and the brightest hundredth of the pixels are clipped, and the rest is stretched
    over the full scale: in true colour by the same factor for all three bands, which preserves the
    hue, in false colour for each band separately.

    Args:
        image: (H, W, C) values that are linear in brightness.
        bands: Names of the image's C bands.
        colours: Names of the bands shown as red, green and blue. If the image lacks one, its first
            band is shown in grey.
        reference: (H, W, C) image that the stretch is computed from, to compare two images; by
            default `image`.

    Returns:
        (H, W, 3) in 0..1.
    """
    channels = (
        [bands.index(name) for name in colours] if has_display_bands(bands, colours) else [0, 0, 0]
    )
    pixels = (image if reference is None else reference)[..., channels].reshape(-1, 3)
    axis = 0 if colours != TRUE_COLOUR else None
    low, high = np.percentile(pixels, (1, 99), axis=axis)
    stretched = (image[..., channels] - low) / np.maximum(high - low, 1e-3)
    # Reflectances are linear; the perception of brightness is not.
    return np.clip(stretched, 0, 1) ** 0.8


def colour_labels(labels: np.ndarray, colours: Sequence[Sequence[int]]) -> np.ndarray:
    """Convert labels to the colours of their classes.

    Args:
        labels: (H, W) uint8 class indices.
        colours: (classes, 3) RGB colours in 0..255.

    Returns:
        (H, W, 3) in 0..1; dark grey for labels without a colour.
    """
    table = np.tile(np.asarray(_NO_CLASS, np.float64), (256, 1))
    if len(colours):
        table[: len(colours)] = colours
    return table[labels] / 255
