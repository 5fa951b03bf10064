"""Values of config fields, from the text of a command line."""

import ast
import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any

from data_pipelines.errors import UserError

__all__ = ["parse_value", "replace_fields"]


def parse_value(kind: type, text: str, path: str) -> Any:
    """A value of type `kind`. Tuples are written `('a', 'b')` or `a,b`.

    Raises:
        UserError: `text` is no such value.
    """
    if kind is str:
        return text
    # Names such as 2_10, which Python would take for the number 210.
    named = kind is tuple and re.search(r"\d_\d", text) and not re.search(r"['\"]", text)
    try:
        value: Any = (
            text if named else ast.literal_eval(text.capitalize() if kind is bool else text)
        )
    except (ValueError, SyntaxError):
        value = text
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    if kind is tuple and not isinstance(value, tuple):
        value = tuple(part.strip() for part in text.strip("()[]").split(",") if part.strip())
    if type(value) is not kind:
        raise UserError(
            f"--config.{path}: found {text!r}; expected a value of type {kind.__name__}"
        )
    return value


def replace_fields(config: Any, assignments: Iterable[str], what: str) -> Any:
    """A dataclass with some fields set from `FIELD=VALUE`, each read as the type it has now.

    Raises:
        UserError: no such field, or not a value of its type.
    """
    types = {field.name: field.type for field in dataclasses.fields(config)}
    fields = list(types)
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--config.{name}: has no value; expected --config.{name}=VALUE")
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(fields)}"
            raise UserError(f"--config.{name}: {what} has no field {name!r}; {hint}")
        value = parse_value(type(getattr(config, name)), text, name)
        if types[name] == tuple[str, ...]:  # names that look like numbers are names
            value = tuple(str(part) for part in value)
        values[name] = value
    return dataclasses.replace(config, **values)
