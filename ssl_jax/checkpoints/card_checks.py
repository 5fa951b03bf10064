"""Checks of a model card, which may come from an untrusted source.

Types, ranges and sizes are checked before memory is allocated for them.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["check_card", "format_value"]

# Limits above any realistic training; nothing is allocated for a card that exceeds them.
_MAX_PIXELS = 2**13  # height or width of an image, a view or a window
_MAX_BANDS = 2**10
_MAX_CLASSES = 2**16
_MAX_UNITS = 2**15  # of a layer
_MAX_EXAMPLES = 2**20  # of a batch
_MAX_VALUES = 2**34  # pixel values of a batch
_MAX_POSITION_VALUES = 2**24  # of the table of position embeddings
_MAX_ENTRIES = 2**10  # of a list in a config
_MAX_STEPS = 2**48
_MAX_ANSWERS = 2**10  # of a canary, images and numbers of each
_PIXEL_FIELDS = ("size", "image_size", "patch_size", "window", "stride")
_TARGETS = ("none", "label", "labels", "mask")
_TYPE_NAMES = {str: "a string", Mapping: "a section of the config"}


def check_card(card: Mapping[str, Any]) -> None:
    """Check that a card has what `ModelCard` and the construction of its network rely on.

    Args:
        card: The card as decoded from JSON.

    Raises:
        UserError: If a field is missing, has the wrong type or is out of range.
    """
    _check_sensor(card)
    shape = _get_list(card, "image_shape")
    if len(shape) != 3:
        raise _make_error("image_shape", shape, "height, width and bands")
    for size in shape[:2]:
        _check_integer("image_shape", size, 1, _MAX_PIXELS)
    if shape[2] != len(card["sensor"]["bands"]):
        raise _make_error("image_shape", shape, "as many bands as its sensor has")
    for name, choices in (("image_dtype", ("uint8", "uint16")), ("target", _TARGETS)):
        if card.get(name) not in choices:
            raise _make_error(name, card.get(name), " or ".join(choices))
    classes, colours = _get_list(card, "classes"), _get_list(card, "colours")
    if len(classes) > _MAX_CLASSES or not all(isinstance(name, str) for name in classes):
        raise _make_error("classes", classes, f"at most {_MAX_CLASSES:,} names")
    for colour in colours:
        if not isinstance(colour, list) or len(colour) != 3:
            raise _make_error("colours", colour, "red, green and blue")
        for value in colour:
            _check_integer("colours", value, 0, 255)
    _check_integer("ignore_label", card.get("ignore_label"), 0, 255)
    _check_integer("step", card.get("step"), 0, _MAX_STEPS)
    metrics = card.get("metrics")
    if not isinstance(metrics, Mapping) or not all(_is_number(v) for v in metrics.values()):
        raise _make_error("metrics", metrics, "numbers by name")  # NaN is allowed
    _check_canary(card.get("canary", {}))
    if not isinstance(card.get("config"), Mapping):
        raise _make_error("config", card.get("config"), "sections and fields by name")
    _check_config(card["config"], math.prod(shape))


def _check_sensor(card: Mapping[str, Any]) -> None:
    sensor = card.get("sensor")
    if not isinstance(sensor, Mapping) or not isinstance(sensor.get("name"), str):
        raise _make_error("sensor", sensor, "a name and bands")
    bands = sensor.get("bands")
    if not isinstance(bands, list) or not 1 <= len(bands) <= _MAX_BANDS:
        raise _make_error("sensor", sensor, f"from 1 to {_MAX_BANDS:,} bands")
    for band in bands:
        if not isinstance(band, Mapping):
            raise _make_error("sensor.bands", band, "names and statistics")
        names = [band.get("name"), *_get_list(band, "aliases")]
        if not all(isinstance(name, str) for name in names):
            raise _make_error("sensor.bands", names, "names")
        for name in ("wavelength", "scale", "offset", "mean", "std"):
            value: Any = band.get(name)
            if not _is_number(value) or not math.isfinite(value) or (name == "std" and value <= 0):
                raise _make_error(
                    f"sensor.bands.{name}", value, "a finite number, positive for std"
                )


def _check_canary(canary: Any) -> None:
    """Check the canary, which cards of earlier versions lack."""
    if not isinstance(canary, Mapping):
        raise _make_error("canary", canary, "answers")
    if not canary:
        return
    if not isinstance(canary.get("precision"), str):
        raise _make_error("canary.precision", canary.get("precision"), "a string")
    rows = _get_list(canary, "answers")
    for row in rows:
        if not isinstance(row, list) or len(row) != len(rows[0]) or not all(map(_is_finite, row)):
            raise _make_error("canary.answers", row, "as many finite numbers of each image")
    if not rows or max(len(rows), len(rows[0])) > _MAX_ANSWERS:
        raise _make_error("canary.answers", rows, f"at most {_MAX_ANSWERS:,} numbers of each image")


def _check_config(config: Mapping[str, Any], image_values: int) -> None:
    """Check the sections, types and sizes of a config for images of `image_values` values each."""
    for name, fields in (
        ("data", {"name": str, "data_dir": str, "train": str, "evaluation": str}),
        ("objective", {"name": str}),
        ("model", {"backbone": Mapping}),
        ("augment", {}),
    ):
        section = config.get(name)
        if not isinstance(section, Mapping):
            raise _make_error(f"config.{name}", section, _TYPE_NAMES[Mapping])
        for field, kind in fields.items():
            if not isinstance(section.get(field), kind):
                raise _make_error(f"config.{name}.{field}", section.get(field), _TYPE_NAMES[kind])
    for name, view in config["augment"].items():
        if not isinstance(view, Mapping):
            raise _make_error(f"config.augment.{name}", view, _TYPE_NAMES[Mapping])
        _check_integer(f"config.augment.{name}.size", view.get("size"), 1, _MAX_PIXELS)
    if not isinstance(config.get("precision"), str):
        raise _make_error("config.precision", config.get("precision"), _TYPE_NAMES[str])
    max_batch_size = min(_MAX_EXAMPLES, max(1, _MAX_VALUES // image_values))
    _check_integer("config.batch_size", config.get("batch_size"), 1, max_batch_size)
    _check_integer("config.data.split_seed", config["data"].get("split_seed", 0), 0, 2**63)
    for path, value in _iterate_numbers(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise _make_error(f"config.{path}", value, "a finite number")
        if path.rpartition(".")[2] in _PIXEL_FIELDS:
            _check_integer(f"config.{path}", value, 0, _MAX_PIXELS)
        elif path.startswith("model.") and not 0 <= value <= _MAX_UNITS:
            raise _make_error(f"config.{path}", value, f"a number from 0 to {_MAX_UNITS:,}")
    _check_position_embeddings(config["model"])


def _check_position_embeddings(model: Mapping[str, Any]) -> None:
    """Check the size of the table of position embeddings, which a network computes when built."""
    backbone = model["backbone"]
    units = max(section.get("dim", 768) for section in model.values())
    patches = (backbone.get("image_size", 120) // max(1, backbone.get("patch_size", 8))) ** 2
    if patches * units > _MAX_POSITION_VALUES:
        raise _make_error(
            "config.model.backbone",
            f"a network of {patches:,} patches of {units:,} dimensions",
            f"at most {_MAX_POSITION_VALUES:,} values in its table of position embeddings",
        )


def _iterate_numbers(value: Any, path: str = "") -> Iterator[tuple[str, int | float]]:
    """Yield the dotted field and the value of each number in a config, also of those in lists."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _iterate_numbers(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        if len(value) > _MAX_ENTRIES:
            raise _make_error(f"config.{path}", value, f"at most {_MAX_ENTRIES:,} entries")
        for inner in value:
            yield from _iterate_numbers(inner, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def _get_list(card: Mapping[str, Any], name: str) -> list[Any]:
    value = card.get(name)
    if not isinstance(value, list):
        raise _make_error(name, value, "a list")
    return value


def _check_integer(name: str, value: Any, minimum: int, maximum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise _make_error(name, value, f"an integer from {minimum:,} to {maximum:,}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and abs(value) < 1e30  # an integer may exceed all floats


def _make_error(name: str, value: Any, expected: str) -> UserError:
    return UserError(
        f"model card: {name} is {format_value(value)}; expected {expected}: the card is corrupt or "
        "was written by another program, get the checkpoint again"
    )


def format_value(value: Any) -> str:
    """Format any value in at most a hundred characters, for error messages."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "an integer of more than 30 digits"
    if isinstance(value, list | Mapping) and len(value) > 8:
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}…"
