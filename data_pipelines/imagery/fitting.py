"""Bringing a few images of another size to the size of a dataset."""

import numpy as np
import PIL.Image

from data_pipelines.errors import UserError
from data_pipelines.files.paths import File

__all__ = ["METHODS", "fit_image"]

METHODS = ("refuse", "crop", "resize", "pad")


def fit_image(file: File, image: np.ndarray, size: int, method: str) -> np.ndarray:
    """Bring an image to a size.

    Args:
        file: The file of the image, for error messages.
        image: (h, w, bands) uint8 or uint16 pixels.
        size: Height and width to bring it to.
        method: `crop` larger sides around the centre, `resize` it by bilinear interpolation, `pad`
            smaller sides with 0 at the bottom and on the right (and crop larger ones), or
            `refuse` it; empty to refuse it where the user has no choice.

    Returns:
        (size, size, bands), of the same dtype.

    Raises:
        UserError: If it has another size, and the method doesn't suit it.
    """
    height, width, bands = image.shape
    if (height, width) == (size, size):
        return image
    if method in ("", "refuse") or (method == "crop" and min(height, width) < size):
        choices = {"refuse": "crop, resize or pad", "crop": "resize or pad"}
        advice = f", or --config.fit={choices[method]}" if method else ""
        raise UserError(
            f"file {file}: has {height} × {width} pixels; expected {size} × {size}{advice}"
        )
    if method == "resize":
        floats = image.astype(np.float32)
        images = [PIL.Image.fromarray(floats[..., band]) for band in range(bands)]
        resized = [
            np.asarray(band.resize((size, size), PIL.Image.Resampling.BILINEAR)) for band in images
        ]
        return np.rint(np.stack(resized, axis=-1)).astype(image.dtype)
    top, left = (max(0, side - size) // 2 for side in (height, width))
    cropped = image[top : top + size, left : left + size]
    padding = [(0, size - side) for side in cropped.shape[:2]]
    return np.pad(cropped, (*padding, (0, 0)))
