"""Checks of a model card, which may come from elsewhere.

Kinds, ranges and sizes, before any memory is taken for what they are the sizes of.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["check_card", "format_value"]

# More than anybody trains with; nothing is allocated for a card that asks for more.
_MOST_PIXELS = 2**13  # on a side of an image, a view or a window
_MOST_BANDS = 2**10
_MOST_CLASSES = 2**16
_MOST_UNITS = 2**15  # in a layer
_MOST_EXAMPLES = 2**20  # in a batch
_MOST_VALUES = 2**34  # in the pixels of a batch
_MOST_POSITIONS = 2**24  # numbers in a table of the positions of patches
_MOST_ENTRIES = 2**10  # in a list of a config
_MOST_STEPS = 2**48
_SIDES = ("size", "image_size", "patch_size", "window", "stride")
_TARGETS = ("none", "label", "labels", "mask")
_WORDS = {str: "a text", Mapping: "a section of the config"}


def check_card(card: Mapping[str, Any]) -> None:
    """See that a card holds what `ModelCard` and whoever makes its network take for granted.

    Raises:
        UserError: it doesn't.
    """
    _expect_sensor(card)
    shape = _list(card, "image_shape")
    if len(shape) != 3:
        raise _mistake("image_shape", shape, "height, width and bands")
    for side in shape[:2]:
        _expect_whole("image_shape", side, 1, _MOST_PIXELS)
    if shape[2] != len(card["sensor"]["bands"]):
        raise _mistake("image_shape", shape, "as many bands as its sensor has")
    for name, words in (("image_dtype", ("uint8", "uint16")), ("target", _TARGETS)):
        if card.get(name) not in words:
            raise _mistake(name, card.get(name), " or ".join(words))
    classes, colours = _list(card, "classes"), _list(card, "colours")
    if len(classes) > _MOST_CLASSES or not all(isinstance(name, str) for name in classes):
        raise _mistake("classes", classes, f"at most {_MOST_CLASSES:,} names")
    for colour in colours:
        if not isinstance(colour, list) or len(colour) != 3:
            raise _mistake("colours", colour, "red, green and blue")
        for value in colour:
            _expect_whole("colours", value, 0, 255)
    _expect_whole("ignore_label", card.get("ignore_label"), 0, 255)
    _expect_whole("step", card.get("step"), 0, _MOST_STEPS)
    metrics = card.get("metrics")
    if not isinstance(metrics, Mapping) or not all(_is_number(v) for v in metrics.values()):
        raise _mistake("metrics", metrics, "numbers by name")  # of which some may be NaN
    if not isinstance(card.get("config"), Mapping):
        raise _mistake("config", card.get("config"), "sections and fields by name")
    _expect_config(card["config"], math.prod(shape))


def _expect_sensor(card: Mapping[str, Any]) -> None:
    sensor = card.get("sensor")
    if not isinstance(sensor, Mapping) or not isinstance(sensor.get("name"), str):
        raise _mistake("sensor", sensor, "a name and bands")
    bands = sensor.get("bands")
    if not isinstance(bands, list) or not 1 <= len(bands) <= _MOST_BANDS:
        raise _mistake("sensor", sensor, f"one of 1 to {_MOST_BANDS:,} bands")
    for band in bands:
        if not isinstance(band, Mapping):
            raise _mistake("sensor.bands", band, "names and statistics")
        names = [band.get("name"), *_list(band, "aliases")]
        if not all(isinstance(name, str) for name in names):
            raise _mistake("sensor.bands", names, "names")
        for name in ("wavelength", "scale", "offset", "mean", "std"):
            value: Any = band.get(name)
            if not _is_number(value) or not math.isfinite(value) or (name == "std" and value <= 0):
                raise _mistake(f"sensor.bands.{name}", value, "a number, above 0 for std")


def _expect_config(config: Mapping[str, Any], values: int) -> None:
    """Sections, kinds and sizes of a config, of images of so many values."""
    for section, fields in (
        ("data", {"name": str, "data_dir": str, "train": str, "evaluation": str}),
        ("objective", {"name": str}),
        ("model", {"backbone": Mapping}),
        ("augment", {}),
    ):
        found = config.get(section)
        if not isinstance(found, Mapping):
            raise _mistake(f"config.{section}", found, "a section of the config")
        for field, kind in fields.items():
            if not isinstance(found.get(field), kind):
                raise _mistake(f"config.{section}.{field}", found.get(field), _WORDS[kind])
    for name, view in config["augment"].items():
        if not isinstance(view, Mapping):
            raise _mistake(f"config.augment.{name}", view, "a section of the config")
        size = view.get("size")
        _expect_whole(f"config.augment.{name}.size", size, 1, _MOST_PIXELS)
    if not isinstance(config.get("precision"), str):
        raise _mistake("config.precision", config.get("precision"), _WORDS[str])
    rows = config.get("batch_size")
    _expect_whole("config.batch_size", rows, 1, min(_MOST_EXAMPLES, max(1, _MOST_VALUES // values)))
    _expect_whole("config.data.split_seed", config["data"].get("split_seed", 0), 0, 2**63)
    for path, value in _numbers(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise _mistake(f"config.{path}", value, "a finite number")
        if path.rpartition(".")[2] in _SIDES:
            _expect_whole(f"config.{path}", value, 0, _MOST_PIXELS)
        elif path.startswith("model.") and not 0 <= value <= _MOST_UNITS:
            raise _mistake(f"config.{path}", value, f"a number from 0 to {_MOST_UNITS:,}")
    _expect_positions(config["model"])


def _expect_positions(model: Mapping[str, Any]) -> None:
    """See that the table of the patches' positions fits: networks make it when they are built."""
    backbone = model["backbone"]
    units = max(section.get("dim", 768) for section in model.values())
    patches = (backbone.get("image_size", 120) // max(1, backbone.get("patch_size", 8))) ** 2
    if patches * units > _MOST_POSITIONS:
        raise _mistake(
            "config.model.backbone",
            f"a network of {patches:,} patches of {units:,} dimensions",
            f"at most {_MOST_POSITIONS:,} numbers in their table",
        )


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, int | float]]:
    """All numbers of a config with their dotted fields; those of a list under the list's."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        if len(value) > _MOST_ENTRIES:
            raise _mistake(f"config.{path}", value, f"at most {_MOST_ENTRIES:,} entries")
        for inner in value:
            yield from _numbers(inner, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def _list(card: Mapping[str, Any], name: str) -> list[Any]:
    value = card.get(name)
    if not isinstance(value, list):
        raise _mistake(name, value, "a list")
    return value


def _expect_whole(name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _mistake(name, value, f"a whole number from {least:,} to {most:,}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mistake(name: str, found: Any, expected: str) -> UserError:
    return UserError(
        f"model card: {name} is {format_value(found)}; expected {expected}: the card is damaged "
        f"or made "
        "by something else, get the checkpoint again"
    )


def format_value(value: Any) -> str:
    """A value in a few words, however large it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "a number of dozens of digits"
    if isinstance(value, list | Mapping) and len(value) > 8:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}…"
