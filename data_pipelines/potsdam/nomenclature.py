"""The classes of the ISPRS benchmarks Potsdam and Vaihingen, and the colours of their masks."""

__all__ = ["CLASSES", "COLOURS"]

_COLOUR_OF = {
    "impervious": (255, 255, 255),
    "building": (0, 0, 255),
    "low_vegetation": (0, 255, 255),
    "tree": (0, 255, 0),
    "car": (255, 255, 0),
    "clutter": (255, 0, 0),
}
CLASSES = tuple(_COLOUR_OF)
COLOURS = tuple(_COLOUR_OF.values())
