"""Conversion of the numbers of files to the digital numbers of a sensor."""

import math
from dataclasses import dataclass

import numpy as np

from data_pipelines.errors import UserError

__all__ = ["UNCHANGED", "Conversion"]


@dataclass(frozen=True)
class Conversion:
    """A conversion of stored numbers to those that a network learned.

    Attributes:
        scale: What one learned digital number is in the stored ones, such as 1e-4 for reflectances.
        offset: Added to the stored numbers before, such as -1000.
    """

    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.offset) or not math.isfinite(self.scale) or self.scale <= 0:
            raise UserError(
                f"scale {self.scale:g} and offset {self.offset:g}: expected finite numbers, and a "
                "positive scale"
            )

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.scale == 1 and self.offset == 0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Convert an image of any shape; the result is float32, unless nothing changes."""
        if self.is_identity:
            return image
        return (image.astype(np.float32) + np.float32(self.offset)) / np.float32(self.scale)


UNCHANGED = Conversion()
