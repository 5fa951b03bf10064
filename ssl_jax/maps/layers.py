"""The layers of a map: what each of its files holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from ssl_jax.maps.colours import Colour, choose_colours

__all__ = ["CONFIDENCE", "NODATA", "Layer", "make_class_layer"]

# The value of pixels without data in all layers.
NODATA = 255


@dataclass(frozen=True)
class Layer:
    """A raster of numbers from 0 to 254, and 255 where there is no data.

    Attributes:
        name: Name of its file, without suffix.
        description: What its numbers are, in the file.
        categories: Names of the classes 0, 1, …; empty if the numbers are amounts.
        colours: Red, green and blue of each class, 0 to 255.
    """

    name: str
    description: str
    categories: tuple[str, ...] = ()
    colours: tuple[Colour, ...] = ()

    @property
    def overview_resampling(self) -> str:
        """GDAL's name of how numbers of a pixel of an overview come about."""
        return "MODE" if self.categories else "AVERAGE"


CONFIDENCE = Layer("confidence", "probability of the class, in percent")


def make_class_layer(classes: Sequence[str], colours: Sequence[Sequence[int]] = ()) -> Layer:
    """Make the layer of classes.

    Args:
        classes: Names of the classes 0, 1, ….
        colours: Red, green and blue of each, 0 to 255; empty for a default.

    Raises:
        ValueError: If there are more classes than numbers.
    """
    if len(classes) > NODATA:
        raise ValueError(f"found {len(classes)} classes; expected at most {NODATA}")
    return Layer("classes", "class", tuple(classes), choose_colours(len(classes), colours))
